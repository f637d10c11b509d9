"""Resizing matches MATLAB's definition of imresize, by two independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedvsr.errors import ConfigError
from fedvsr.video import resize
from fedvsr.video.resize import downscale, imresize, to_uint8, upscale


def cubic(x):
    """Keys' cubic convolution kernel with a = −0.5, written independently of the package."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x <= 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def resize_line(line, output_length, scale):
    """Resizes one line of numbers by the definition of MATLAB's imresize."""
    widening = max(1.0, 1 / scale)
    result = []
    for output in range(output_length):
        centre = (output + 0.5) / scale - 0.5
        total = weights = 0.0
        for position in range(int(centre - 2 * widening) - 2, int(centre + 2 * widening) + 3):
            weight = cubic((centre - position) / widening)
            mirrored = position % (2 * len(line))
            total += weight * line[min(mirrored, 2 * len(line) - 1 - mirrored)]
            weights += weight
        result.append(total / weights)
    return result


def slow_resize(image, output_height, output_width, scale):
    image = image.astype(np.float64)
    _, width, channels = image.shape
    rows = np.empty((output_height, width, channels))
    for x in range(width):
        for channel in range(channels):
            rows[:, x, channel] = resize_line(image[:, x, channel], output_height, scale)
    result = np.empty((output_height, output_width, channels))
    for y in range(output_height):
        for channel in range(channels):
            result[y, :, channel] = resize_line(rows[y, :, channel], output_width, scale)
    return result


def pillow_downscale(image, scale):
    """Pillow has the same kernel but other borders, so the image is padded first."""
    height, width = image.shape[:2]
    output = (-(-width // scale), -(-height // scale))
    margin = 4 * scale
    padded = np.pad(image, [(margin, margin + scale), (margin, margin + scale), (0, 0)], mode="symmetric")
    box = (margin, margin, margin + output[0] * scale, margin + output[1] * scale)
    whole = (output[0] + 8, output[1] + 8)
    region = (0, 0, box[2] + margin, box[3] + margin)
    planes = [
        np.asarray(
            Image.fromarray(padded[..., channel].astype(np.float32)).resize(
                whole, Image.Resampling.BICUBIC, box=region
            )
        )
        for channel in range(3)
    ]
    return np.stack(planes, axis=-1)[4:-4, 4:-4]


SHAPES = [(24, 36), (23, 37), (25, 14)]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES)
class TestAgainstIndependentComputations:
    @pytest.fixture
    def image(self, random, shape):
        # Extreme contrast, so that some overshoot is clipped.
        return np.where(random.random((*shape, 3)) < 0.5, 0, random.integers(200, 256, (*shape, 3))).astype(
            np.uint8
        )

    def test_downscale_matches_the_definition(self, image, scale):
        height, width = image.shape[:2]
        expected = slow_resize(image, -(-height // scale), -(-width // scale), 1 / scale)
        difference = np.abs(downscale(image, scale).astype(int) - to_uint8(expected))
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= difference.size / 100  # halves that float64 rounds differently

    def test_upscale_matches_the_definition(self, image, scale):
        height, width = image.shape[:2]
        expected = slow_resize(image, height * scale, width * scale, scale)
        difference = np.abs(upscale(image, scale).astype(int) - to_uint8(expected))
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= difference.size / 100

    def test_the_result_before_rounding_matches_the_definition(self, image, scale):
        image = image[: -(image.shape[0] % scale) or None, : -(image.shape[1] % scale) or None]
        height, width = image.shape[0] // scale, image.shape[1] // scale
        expected = slow_resize(image, height, width, 1 / scale)
        np.testing.assert_allclose(imresize(image, height, width), expected, rtol=0, atol=1e-9)

    def test_downscale_agrees_with_pillow(self, image, scale):
        expected = to_uint8(pillow_downscale(image, scale).astype(np.float64))
        assert np.abs(downscale(image, scale).astype(int) - expected).max() <= 1

    def test_the_order_of_the_axes_does_not_matter(self, image, scale):
        height, width = image.shape[0] // scale, image.shape[1] // scale
        swapped = imresize(image.swapaxes(0, 1), width, height).swapaxes(0, 1)
        np.testing.assert_allclose(imresize(image, height, width), swapped, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("scale", "weights"),
    [
        # k((n + ½) / 2) / 2 for n = −4 … 3: k(¼) = 111/128, k(¾) = 29/128, k(1¼) = −9/128, k(1¾) = −3/128.
        (2, np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256),
        # k((n + ½) / 4) / 4 for n = −8 … 7, from k(⅛) = 987/1024 to k(1⅞) = −7/1024.
        (
            4,
            np.array([-7, -45, -75, -49, 93, 399, 745, 987, 987, 745, 399, 93, -49, -75, -45, -7]) / 4096,
        ),
    ],
)
def test_weights_match_those_computed_by_hand(scale, weights):
    taps = 4 * scale
    assert weights.sum() == pytest.approx(1.0)
    # How one output pixel, far from the borders, responds to one bright input pixel.
    output = 4
    first = output * scale + scale // 2 - taps // 2
    for tap in range(taps):
        line = np.zeros((10 * scale, 1, 1))
        line[first + tap] = 1.0
        assert imresize(line, 10, 1)[output, 0, 0] == pytest.approx(weights[tap], abs=1e-15)


@pytest.mark.parametrize("scale", [2, 4])
def test_factors_2_and_4_are_exact(random, scale):
    image = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    result = imresize(image, 16 // scale, 16 // scale) * 4096**2
    np.testing.assert_array_equal(result, np.round(result))


@settings(max_examples=30)
@given(
    value=st.integers(0, 255),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    scale=st.integers(1, 4),
)
def test_a_flat_image_stays_flat(value, size, scale):
    image = np.full((*size, 3), value, np.uint8)
    assert (downscale(image, scale) == value).all()
    assert (upscale(image, scale) == value).all()


def test_a_clip_is_resized_frame_by_frame(noise):
    for resize_frames in (downscale, upscale):
        np.testing.assert_array_equal(
            resize_frames(noise, 4), np.stack([resize_frames(frame, 4) for frame in noise])
        )


def test_sizes_that_do_not_divide_are_rounded_up(noise):
    assert downscale(noise, 5).shape == (5, 5, 7, 3)


def test_halves_are_rounded_away_from_zero_and_overshoot_is_clipped():
    values = np.array([-3.0, -0.5, 0.49, 0.5, 1.5, 2.5, 254.5, 300.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 2, 3, 255, 255]


def test_the_axis_that_shrinks_most_is_resized_first(noise, monkeypatch):
    axes = []
    original = resize._resize_axis

    def record(array, axis, *arguments):
        axes.append(axis)
        return original(array, axis, *arguments)

    monkeypatch.setattr(resize, "_resize_axis", record)
    imresize(noise, 20, 8)
    imresize(noise, 12, 16)
    assert axes == [-2, -3, -3, -2]


def test_settings_out_of_range_are_refused(noise):
    for resize_frames in (downscale, upscale):
        with pytest.raises(ConfigError, match="scale"):
            resize_frames(noise, 0)
    with pytest.raises(ConfigError, match="output_width"):
        imresize(noise, 4, 0)
