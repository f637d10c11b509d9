import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import ConfigError
from fedvsr.models import build_model
from fedvsr.models.bicubic import cubic_kernel, upscale_bicubic


def explicit(plane, scale):
    """The definition, pixel by pixel in float64: a sum over source pixels with a mirrored border."""

    def axis_matrix(size):
        matrix = np.zeros((size * scale, size))
        for i in range(size * scale):
            centre = (i + 0.5) / scale - 0.5
            for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
                source = j
                while not 0 <= source < size:
                    source = -1 - source if source < 0 else 2 * size - 1 - source
                matrix[i, source] += cubic_kernel(centre - j)
        return matrix

    height, width = plane.shape
    return axis_matrix(height) @ plane @ axis_matrix(width).T


@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    scale=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_it_equals_the_definition(size, scale, seed):
    plane = np.random.default_rng(seed).random(size)
    expected = explicit(plane, scale)
    double = upscale_bicubic(torch.from_numpy(plane), scale)
    single = upscale_bicubic(torch.from_numpy(plane).float(), scale)
    np.testing.assert_allclose(double.numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-6)


def test_the_kernel_is_that_of_keys():
    # Keys 1981: 1 at 0, 0 at the other integers, 9/16 and −1/16 half-way.
    assert [cubic_kernel(d) for d in (0, 1, -1, 2, 3)] == [1, 0, 0, 0, 0]
    assert [cubic_kernel(d) for d in (0.5, -0.5, 1.5)] == [9 / 16, 9 / 16, -1 / 16]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_constants_and_inner_parabolas_are_preserved(scale):
    torch.testing.assert_close(
        upscale_bicubic(torch.full((5, 6), 0.3), scale), torch.full((5 * scale, 6 * scale), 0.3)
    )
    x = torch.arange(12, dtype=torch.float64)
    fine = (torch.arange(12 * scale) + 0.5) / scale - 0.5
    inside = slice(2 * scale, -2 * scale)
    upscaled = upscale_bicubic((x**2).expand(3, -1), scale)
    torch.testing.assert_close(upscaled[0, inside], (fine**2).double()[inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_model_upscales_every_frame_separately(scale):
    model = build_model("bicubic", scale)
    x = torch.rand(2, 3, 3, 5, 7)
    y = model(x)
    assert y.shape == (2, 3, 3, 5 * scale, 7 * scale)
    torch.testing.assert_close(y[1, 2], model(x[1:, 2:])[0, 0])
    assert not list(model.parameters())
    assert not model.state_dict()


def test_other_scales_are_refused():
    with pytest.raises(ConfigError, match=r"data\.scale: 5 .* 2, 3, 4"):
        build_model("bicubic", 5)
