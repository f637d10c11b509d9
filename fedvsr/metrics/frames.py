"""Checks, crops and converts the frames of two videos for a comparison."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import InputError
from fedvsr.metrics.color import rgb_to_y

Channel = Literal["rgb", "y"]
"""The channels that PSNR and SSIM compare: all three, or luma alone (`fedvsr.metrics.color.rgb_to_y`)."""

_CHANNELS = ("rgb", "y")


def frame_pairs(
    a: NDArray[np.uint8], b: NDArray[np.uint8], crop_border: int, channel: Channel, minimum: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Returns an iterator over pairs of frames. Only one pair at a time is in memory as float64.

    Args:
        a: (T, H, W, 3) uint8, RGB.
        b: Of the same shape.
        crop_border: Pixels to leave out at each of the four sides.
        channel: ``rgb`` or ``y``.
        minimum: Minimum height and width after cropping, in pixels.

    Returns:
        Pairs of frames as float64: (H, W, 3) from 0 to 255, or, for luma, (H, W, 1) from 16 to 235.

    Raises:
        fedvsr.errors.InputError: The videos are not uint8 frames of the same shape, the frames are too
            small, or the channel is unknown.
    """
    check_frames(a, b, crop_border, minimum)
    if channel not in _CHANNELS:
        raise InputError(f"unknown channel {channel!r}: videos are compared in {' or '.join(_CHANNELS)}")
    convert = _luma if channel == "y" else _all_channels
    return ((convert(crop(x, crop_border)), convert(crop(y, crop_border))) for x, y in zip(a, b, strict=True))


def check_frames(a: NDArray[Any], b: NDArray[Any], crop_border: int, minimum: int) -> None:
    """Checks that two videos can be compared; the arguments are those of `frame_pairs`.

    Raises:
        fedvsr.errors.InputError: The videos are not uint8 frames of the same shape, or are too small.
    """
    for frames in (a, b):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise InputError(
                "a metric takes at least one frame as uint8 of shape (T, H, W, 3), "
                f"not {frames.dtype} of shape {frames.shape}"
            )
    if a.shape != b.shape:
        raise InputError(f"a metric compares videos of one shape, not {a.shape} with {b.shape}")
    height, width = (side - 2 * crop_border for side in a.shape[1:3])
    if crop_border < 0 or min(height, width) < minimum:
        raise InputError(
            f"frames of {a.shape[2]}×{a.shape[1]} less a border of {crop_border} pixels are too small: "
            f"the metric needs {minimum}×{minimum}"
        )


def crop(frames: NDArray[Any], border: int) -> NDArray[Any]:
    """Returns a view of (…, H, W, C) without ``border`` pixels at each of the four sides."""
    return frames[..., border : frames.shape[-3] - border, border : frames.shape[-2] - border, :]


def _luma(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    return rgb_to_y(frame)[..., None]


def _all_channels(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    return frame.astype(np.float64)
