"""The papers' blur-downsampling matches the definitions of MATLAB's fspecial and imfilter."""

import numpy as np
import pytest

from fedvsr.errors import ConfigError
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.resize import downscale

SIGMA = 1.6


@pytest.mark.parametrize("scale", [2, 4])
def test_it_matches_the_script_at_every_pixel(random, scale):
    image = random.integers(0, 256, (24, 36, 3), dtype=np.uint8)
    # fspecial("gaussian", 12, 1.6): symmetric about the middle between its 6th and 7th tap.
    offsets = np.arange(12) - 5.5
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    # imfilter: the tap ⌊(12 + 1)/2⌋ = 6 lies on the pixel, so it uses 5 pixels before and 6 after.
    padded = np.pad(image.astype(float), [(5, 6), (5, 6), (0, 0)], mode="edge")
    blurred = np.empty(image.shape)
    for row in range(24):
        for column in range(36):
            window = padded[row : row + 12, column : column + 12]
            blurred[row, column] = np.tensordot(kernel, window, axes=2)
    first = scale // 2 - 1  # pixel scale/2, counted from 1
    expected = blurred[first::scale, first::scale]
    small = get_degradation("matlab-bd")(image[None], scale)[0]
    assert small.shape == expected.shape
    assert np.abs(small - expected).max() <= 0.5 + 1e-9


def test_its_pixels_have_the_same_centres_as_those_of_bicubic_interpolation():
    """On a ramp a pixel's value shows its centre. At ×4, the centres of bd are 1.5 pixels earlier."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 2, (64, 64))
    clip = np.stack([ramp] * 3, -1)[None]
    interior = np.s_[0, 4:-4, 8, 0]
    centred, bicubic = get_degradation("matlab-bd")(clip, 4)[interior], downscale(clip, 4)[interior]
    np.testing.assert_array_equal(centred, bicubic)
    np.testing.assert_array_equal(get_degradation("bd")(clip, 4)[interior], bicubic - 3)


def test_it_keeps_its_input_and_flat_frames_and_refuses_undefined_scales(noise):
    degrade = get_degradation("matlab-bd")
    before = noise.copy()
    small = degrade(noise, 4)
    np.testing.assert_array_equal(noise, before)
    np.testing.assert_array_equal(degrade(noise, 4), small)
    assert np.all(degrade(np.full_like(noise, 93), 2) == 93)
    with pytest.raises(ConfigError, match="'matlab-bd' is defined for 2, 4"):
        degrade(noise, 3)
