"""MATLAB's bicubic ``imresize``, which benchmarks of video super-resolution use.

- The kernel is the cubic convolution kernel with a = −0.5 (Keys, "Cubic Convolution Interpolation for
  Digital Image Processing", IEEE Transactions on Acoustics, Speech, and Signal Processing, 1981,
  https://doi.org/10.1109/TASSP.1981.1163711).
- If an image shrinks by the factor s, the kernel becomes s times wider and lower, so that it smooths
  before it samples (MATLAB's ``Antialiasing``).
- Beyond its borders the image is reflected, with the border pixel repeated (MATLAB's ``symmetric``).
- The weights of each output pixel are normalised to sum to 1.

All of this follows MATLAB's documentation (https://www.mathworks.com/help/images/ref/imresize.html).

Everything is computed in float64 and rounded once at the end. The papers' scripts do the
same, because they call ``imresize`` on ``im2double`` images. On uint8 images MATLAB rounds after each axis.
For the factors 2 and 4 all weights are multiples of 1/4096, so float64 is exact and the pixels are the same
on every machine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import ConfigError
from fedvsr.video.frames import Frames

_KERNEL_WIDTH = 4.0


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _contributions(
    length: int, output_length: int, scale: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Returns the input pixels of each output pixel: indices and weights, both (output_length, taps)."""
    shrink = min(scale, 1.0)
    width = _KERNEL_WIDTH / shrink
    centre = (np.arange(output_length) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(np.intp)
    indices = first[:, None] + np.arange(int(np.ceil(width)) + 2)
    weights = _cubic((centre[:, None] - indices) * shrink)
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    indices, weights = indices[:, used], weights[:, used]
    # Reflection with the border pixel repeated has the period 2·length: 0 … n−1, n−1 … 0.
    indices %= 2 * length
    return np.where(indices < length, indices, 2 * length - 1 - indices), weights


def _resize_axis(array: NDArray[Any], axis: int, output_length: int, scale: float) -> NDArray[np.float64]:
    indices, weights = _contributions(array.shape[axis], output_length, scale)
    rows = np.ascontiguousarray(np.moveaxis(array, axis, 0))
    shape = (output_length,) + (1,) * (rows.ndim - 1)
    total = np.zeros((output_length, *rows.shape[1:]))
    product = np.empty_like(total)
    for tap in range(indices.shape[1]):
        np.multiply(rows[indices[:, tap]], weights[:, tap].reshape(shape), out=product)
        total += product
    return np.moveaxis(total, 0, axis)


def _resize(
    array: NDArray[Any], output_height: int, output_width: int, scales: tuple[float, float]
) -> NDArray[np.float64]:
    axes = [(scales[0], -3, output_height), (scales[1], -2, output_width)]
    # MATLAB starts with the axis that shrinks most, and with rows if both shrink equally. Python's sort is
    # stable.
    result = array
    for scale, axis, output_length in sorted(axes, key=lambda entry: entry[0]):
        result = _resize_axis(result, axis, output_length, scale)
    return np.ascontiguousarray(result, dtype=np.float64)


def imresize(array: NDArray[Any], output_height: int, output_width: int) -> NDArray[np.float64]:
    """Resizes images: MATLAB's ``imresize(array, [height width], "bicubic")``.

    Args:
        array: (…, H, W, C), of any real type and range.
        output_height: In pixels, at least 1.
        output_width: In pixels, at least 1.

    Returns:
        float64 (…, output_height, output_width, C), in the units of ``array``. Bicubic interpolation
        overshoots, so values may lie slightly outside the range of ``array``.

    Raises:
        fedvsr.errors.ConfigError: A side is less than 1.
    """
    for field, value in (("output_height", output_height), ("output_width", output_width)):
        if value < 1:
            raise ConfigError(field, value, "it must be at least 1 pixel")
    height, width = array.shape[-3:-1]
    return _resize(array, output_height, output_width, (output_height / height, output_width / width))


def to_uint8(array: NDArray[np.float64]) -> Frames:
    """Rounds to the nearest integer, halves away from zero, and clips to 0..255, like MATLAB's ``uint8``.

    Args:
        array: float64 of any shape, in units of 0..255.

    Returns:
        uint8 of the same shape.
    """
    # floor(x + ½) rounds negative halves up, but they are clipped to 0 in any case.
    return np.clip(np.floor(array + 0.5), 0, 255).astype(np.uint8)


def downscale(frames: Frames, scale: int) -> Frames:
    """Downscales frames: MATLAB's ``imresize(frames, 1 / scale, "bicubic")``.

    Args:
        frames: uint8 (…, H, W, C).
        scale: The factor, at least 1.

    Returns:
        uint8 (…, ⌈H / scale⌉, ⌈W / scale⌉, C). MATLAB also rounds up.

    Raises:
        fedvsr.errors.ConfigError: ``scale`` is less than 1.
    """
    _check_scale(scale)
    height, width = frames.shape[-3:-1]
    return _resize_frames(frames, -(-height // scale), -(-width // scale), 1 / scale)


def upscale(frames: Frames, scale: int) -> Frames:
    """Upscales frames: MATLAB's ``imresize(frames, scale, "bicubic")``, the bicubic baseline.

    Args:
        frames: uint8 (…, H, W, C).
        scale: The factor, at least 1.

    Returns:
        uint8 (…, scale·H, scale·W, C).

    Raises:
        fedvsr.errors.ConfigError: ``scale`` is less than 1.
    """
    _check_scale(scale)
    height, width = frames.shape[-3:-1]
    return _resize_frames(frames, height * scale, width * scale, float(scale))


def _resize_frames(frames: Frames, output_height: int, output_width: int, scale: float) -> Frames:
    *leading, height, width, channels = frames.shape
    result = np.empty((*leading, output_height, output_width, channels), np.uint8)
    # Frame by frame, so that memory holds the float64 values of only one frame.
    for source, target in zip(
        frames.reshape(-1, height, width, channels),
        result.reshape(-1, output_height, output_width, channels),
        strict=True,
    ):
        target[:] = to_uint8(_resize(source, output_height, output_width, (scale, scale)))
    return result


def _check_scale(scale: int) -> None:
    if scale < 1:
        raise ConfigError("scale", scale, "it must be at least 1")
