"""Peak signal-to-noise ratio."""

import numpy as np
from numpy.typing import NDArray

from fedvsr.metrics.frames import Channel, frame_pairs

_PEAK = 255.0

PSNR_LIMIT = 100.0
"""What a frame without any error counts in a table, whose PSNR is infinite, in dB."""


def psnr(
    a: NDArray[np.uint8], b: NDArray[np.uint8], crop_border: int = 0, channel: Channel = "rgb"
) -> NDArray[np.float64]:
    """Returns 10·log₁₀(255² / mean squared error) of every frame.

    The error is averaged over all pixels and channels of a frame. The peak is 255 for luma too,
    though luma ends at 235: that is how the field reports it.

    Args:
        a: (T, H, W, 3) uint8, RGB.
        b: Of the same shape.
        crop_border: Pixels to leave out at each of the four sides.
        channel: ``rgb``, or ``y`` for luma alone.

    Returns:
        (T,) in dB; infinite for a frame that is the same in both. `mean_psnr` averages it.

    Raises:
        fedvsr.errors.InputError: The videos cannot be compared.
    """
    errors = [np.square(x - y).mean() for x, y in frame_pairs(a, b, crop_border, channel, minimum=1)]
    with np.errstate(divide="ignore"):
        ratios: NDArray[np.float64] = 10 * np.log10(_PEAK**2 / np.array(errors))
    return ratios


def mean_psnr(values: NDArray[np.float64]) -> float:
    """Returns the mean of frames' PSNR, over the frames that differ.

    A frame that is the same in both videos, a black one in a fade say, has an infinite PSNR: one
    of them would make every mean infinite, so they are left out. Infinite if all frames are the same.

    Args:
        values: (T,) in dB, T ≥ 1, as `psnr` returns them.
    """
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("inf")
