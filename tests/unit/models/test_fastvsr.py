import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.losses import charbonnier, high_frequency_loss
from fedvsr.models import build_model, contexts


def awake(scale=4, **options):
    """A model whose last convolution is not zero."""
    torch.manual_seed(0)
    model = build_model("fastvsr", scale, options)
    torch.nn.init.normal_(model.residual.weight, std=0.3)
    return model.eval()


def video(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_untrained_model_is_exactly_bicubic(scale):
    x = video(1, 3, 3, 12, 16)
    with torch.inference_mode():
        assert torch.equal(build_model("fastvsr", scale)(x), build_model("bicubic", scale)(x))


@given(
    scale=st.sampled_from([2, 3, 4]),
    size=st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
)
@settings(max_examples=20, deadline=None)
def test_any_length_and_size_is_valid(scale, size):
    N, T, h, w = size
    with torch.inference_mode():
        y = awake(scale, channels=4, blocks=1)(video(N, T, 3, h, w))
    assert y.shape == (N, T, 3, scale * h, scale * w)
    assert y.isfinite().all()


def test_an_output_frame_depends_only_on_its_temporal_context():
    model = awake()
    context = contexts(model).temporal
    x = video(1, 7, 3, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, 3].sum(), x)
    depends = (gradient[0].abs().amax((1, 2, 3)) > 0).tolist()
    assert depends == [abs(t - 3) <= context for t in range(7)]


def test_a_tile_with_its_spatial_context_equals_that_part_of_the_whole_frame():
    model = awake(channels=8, blocks=2)
    margin = contexts(model).spatial
    x = video(1, 2, 3, 40, 44)
    top, left, size = margin, margin + 3, 6
    tile = x[..., top - margin : top + size + margin, left - margin : left + size + margin]
    with torch.inference_mode():
        whole = model(x)[..., 4 * top : 4 * (top + size), 4 * left : 4 * (left + size)]
        inside = model(tile)[..., 4 * margin : 4 * (margin + size), 4 * margin : 4 * (margin + size)]
    torch.testing.assert_close(inside, whole, atol=1e-5, rtol=0)


def test_videos_of_a_batch_do_not_mix():
    model, x = awake(), video(3, 2, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), atol=1e-5, rtol=0)


def test_a_change_of_brightness_changes_only_the_brightness():
    model, x = awake(), video(1, 3, 3, 10, 10) / 2
    with torch.inference_mode():
        torch.testing.assert_close(model(x + 0.25), model(x) + 0.25, atol=1e-5, rtol=0)


def test_a_still_video_gives_a_still_video():
    model = awake()
    with torch.inference_mode():
        y = model(video(1, 1, 3, 10, 10).expand(-1, 4, -1, -1, -1))
    torch.testing.assert_close(y, y[:, :1].expand_as(y), atol=1e-6, rtol=0)


def test_it_learns_to_sharpen_edges():
    torch.manual_seed(0)
    high = video(2, 2, 3, 6, 6).repeat_interleave(4, -1).repeat_interleave(4, -2)
    low = torch.nn.functional.avg_pool2d(high.flatten(0, 1), 2).reshape(2, 2, 3, 12, 12)
    model = build_model("fastvsr", 2, {"channels": 8, "blocks": 1})
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        y = model(low)
        loss = charbonnier(y, high) + high_frequency_loss(y, high)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())
