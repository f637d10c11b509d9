"""The papers' blur-downsampling, by the definitions of MATLAB's fspecial and imfilter."""

import numpy as np
import pytest

from fedvsr.errors import ConfigError
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.resize import downscale

SIGMA = 1.6


@pytest.mark.parametrize("scale", [2, 4])
def test_it_is_the_script_at_every_pixel(random, scale):
    image = random.integers(0, 256, (24, 36, 3), dtype=np.uint8)
    # fspecial("gaussian", 12, 1.6): symmetric about the middle between its 6th and 7th tap.
    offsets = np.arange(12) - 5.5
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    # imfilter: the tap ⌊(12 + 1)/2⌋ = 6 lies on the pixel, so 5 pixels before it count and 6 behind.
    padded = np.pad(image.astype(float), [(5, 6), (5, 6), (0, 0)], mode="edge")
    blurred = np.empty(image.shape)
    for i in range(24):
        for j in range(36):
            blurred[i, j] = np.tensordot(kernel, padded[i : i + 12, j : j + 12], axes=2)
    first = scale // 2 - 1  # scale/2 where pixels are counted from 1
    expected = blurred[first::scale, first::scale]
    small = get_degradation("matlab-bd")(image[None], scale)[0]
    assert small.shape == expected.shape
    assert np.abs(small - expected).max() <= 0.5 + 1e-9


def test_its_pixels_lie_where_bicubic_interpolation_puts_them():
    """A ramp keeps its value at every pixel's centre; the older bd reads it 1.5 pixels earlier at ×4."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 2, (64, 64))
    clip = np.stack([ramp] * 3, -1)[None]
    inner = np.s_[0, 4:-4, 8, 0]
    centred, bicubic = get_degradation("matlab-bd")(clip, 4)[inner], downscale(clip, 4)[inner]
    np.testing.assert_array_equal(centred, bicubic)
    np.testing.assert_array_equal(get_degradation("bd")(clip, 4)[inner], bicubic - 3)


def test_what_holds_for_every_degradation(noise):
    degrade = get_degradation("matlab-bd")
    before = noise.copy()
    small = degrade(noise, 4)
    np.testing.assert_array_equal(noise, before)
    np.testing.assert_array_equal(degrade(noise, 4), small)
    assert np.all(degrade(np.full_like(noise, 93), 2) == 93)
    with pytest.raises(ConfigError, match="'matlab-bd' is defined for 2, 4"):
        degrade(noise, 3)
