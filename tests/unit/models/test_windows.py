import pytest
import torch
from torch.nn import functional

from fedvsr.models.windows import (
    attend,
    from_windows,
    heads_of,
    pad_to_windows,
    relative_position_count,
    relative_position_index,
    roll,
    shift_mask,
    to_windows,
)


def test_joining_windows_is_the_inverse_of_cutting_them():
    x = torch.arange(2 * 4 * 6 * 4 * 3).view(2, 4, 6, 4, 3)
    windows = to_windows(x, (2, 3, 4))
    assert windows.shape == (2 * 2 * 2 * 1, 24, 3)
    assert torch.equal(windows[1].view(2, 3, 4, 3), x[0, :2, 3:, :])
    assert torch.equal(from_windows(windows, (2, 3, 4), (4, 6, 4)), x)


def test_zeros_fill_the_last_windows():
    x = torch.ones(1, 3, 4, 5, 2)
    padded = pad_to_windows(x, (2, 4, 4))
    assert padded.shape == (1, 4, 4, 8, 2)
    assert padded.sum() == x.sum()
    assert pad_to_windows(x, (3, 2, 5)) is x


def test_rolling_by_zero_does_not_copy():
    x = torch.arange(6.0).view(1, 1, 1, 6, 1)
    assert roll(x, (0, 0, 0)) is x
    assert roll(x, (0, 0, 2)).flatten().tolist() == [4, 5, 0, 1, 2, 3]


def test_a_shift_hides_positions_that_came_from_the_other_end():
    # Columns 0 to 7, shifted by 2 towards the start: the last window contains 6, 7, 0, 1.
    mask = shift_mask((1, 1, 8), (1, 1, 4), (0, 0, 2), torch.device("cpu"))
    assert mask.shape == (2, 4, 4)
    assert not mask[0].any()
    hidden = mask[1] < -50
    assert hidden.tolist() == [[False, False, True, True]] * 2 + [[True, True, False, False]] * 2


def test_an_axis_that_is_not_shifted_hides_nothing():
    mask = shift_mask((4, 4, 4), (2, 4, 4), (1, 0, 0), torch.device("cpu"))
    frame = torch.arange(32) // 16
    assert not mask[0].any()
    assert torch.equal(mask[1] < -50, frame[:, None] != frame)


def test_equal_differences_share_a_row_of_the_table():
    index = relative_position_index((1, 2, 3))
    assert index.tolist()[0] == [7, 6, 5, 2, 1, 0]
    assert index.diagonal().tolist() == [7] * 6
    assert index.max() + 1 == relative_position_count((1, 2, 3)) == 15


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_that_of_pytorch(masked):
    torch.manual_seed(0)
    query, key, value = heads_of(torch.randn(4, 6, 3 * 8), 2)
    bias = torch.randn(2, 6, 6)
    mask = torch.where(torch.rand(2, 6, 6) < 0.3, -100.0, 0.0) if masked else None
    expected_mask = bias.expand(4, 2, 6, 6)
    if mask is not None:
        expected_mask = expected_mask + mask.repeat(2, 1, 1)[:, None]
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=expected_mask)
    output = attend(query, key, value, bias, mask)
    torch.testing.assert_close(output, expected.transpose(1, 2).reshape(4, 6, 8))
