"""Properties of every degradation, and the definitions of BI and BD."""

import cv2
import numpy as np
import pytest

from fedvsr.errors import ConfigError, UnknownNameError, VideoError
from fedvsr.video.degradations.registry import degradation_names, get_degradation
from fedvsr.video.frames import crop_to_multiple
from fedvsr.video.resize import downscale


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in degradation_names() for scale in get_degradation(name).scales],
)
class TestEveryDegradation:
    def test_frames_get_smaller_by_the_scale_and_stay_uint8(self, random, name, scale):
        clip = random.integers(0, 256, (3, 24, 36, 3), dtype=np.uint8)
        small = get_degradation(name)(clip, scale)
        assert small.shape == (3, 24 // scale, 36 // scale, 3)
        assert small.dtype == np.uint8

    def test_flat_frames_stay_flat(self, name, scale):
        for value in (0, 100, 255):
            clip = np.full((1, 24, 24, 3), value, np.uint8)
            assert (get_degradation(name)(clip, scale) == value).all()

    def test_sizes_that_do_not_divide_are_refused(self, name, scale):
        clip = np.zeros((1, 25, 37, 3), np.uint8)
        with pytest.raises(VideoError, match=rf"37×25 pixels do not divide by the scale {scale}"):
            get_degradation(name)(clip, scale)
        assert get_degradation(name)(crop_to_multiple(clip, scale), scale).shape[0] == 1

    def test_its_name_is_the_registered_name(self, name, scale):
        assert get_degradation(name).name == name
        assert scale in get_degradation(name).scales


def test_unknown_names_and_undefined_scales_are_refused(noise):
    with pytest.raises(ConfigError, match="'bi' is defined for 2, 3, 4"):
        get_degradation("bi")(noise, 5)
    with pytest.raises(UnknownNameError, match="unknown degradation 'jpeg'; known: bd, bi, matlab-bd"):
        get_degradation("jpeg")


def test_bi_is_matlabs_bicubic(noise):
    np.testing.assert_array_equal(get_degradation("bi")(noise, 4), downscale(noise, 4))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bd_matches_its_definition_at_every_pixel(random, scale):
    image = random.integers(0, 256, (24, 36, 3), dtype=np.uint8)
    offsets = range(-6, 7)
    kernel = np.array([[np.exp(-(y * y + x * x) / (2 * 1.6**2)) for x in offsets] for y in offsets])
    kernel /= kernel.sum()
    padded = np.pad(image.astype(float), [(6, 6), (6, 6), (0, 0)], mode="reflect")
    expected = np.empty((24 // scale, 36 // scale, 3))
    for row in range(expected.shape[0]):
        for column in range(expected.shape[1]):
            window = padded[row * scale : row * scale + 13, column * scale : column * scale + 13]
            expected[row, column] = np.tensordot(kernel, window, axes=2)
    small = get_degradation("bd")(image[None], scale)[0]
    assert np.abs(small - expected).max() <= 0.5 + 1e-9


def test_bd_keeps_every_pixel_from_the_first_on():
    clip = np.zeros((1, 64, 64, 3), np.uint8)
    clip[0, 32, 32] = 255
    small = get_degradation("bd")(clip, 4)[0, ..., 0]
    assert np.unravel_index(small.argmax(), small.shape) == (8, 8)
    np.testing.assert_array_equal(small[1:], small[1:][::-1])  # symmetric about pixel (8, 8)
    assert small[8, 8] == round(255 * float(cv2.getGaussianKernel(13, 1.6)[6, 0]) ** 2)


def test_frames_smaller_than_the_blur_of_bd_are_refused():
    with pytest.raises(VideoError, match="8×4 pixels are too small"):
        get_degradation("bd")(np.zeros((1, 4, 8, 3), np.uint8), 4)


def test_crop_to_multiple_crops_at_the_bottom_and_right(noise):
    np.testing.assert_array_equal(crop_to_multiple(noise, 5), noise[:, :20, :30])
    assert crop_to_multiple(noise, 4).shape == noise.shape
    with pytest.raises(VideoError, match="32×24 pixels are smaller than the scale 25"):
        crop_to_multiple(noise, 25)
