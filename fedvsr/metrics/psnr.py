"""Peak signal-to-noise ratio."""

import numpy as np
from numpy.typing import NDArray

from fedvsr.metrics.frames import Channel, frame_pairs

_PEAK = 255.0

PSNR_LIMIT = 100.0
"""In dB. It stands for the infinite PSNR of a frame without any error, so that means are finite."""


def psnr(
    a: NDArray[np.uint8], b: NDArray[np.uint8], crop_border: int = 0, channel: Channel = "rgb"
) -> NDArray[np.float64]:
    """Returns 10·log₁₀(255² / mean squared error) of every frame.

    The error is averaged over all pixels and channels of a frame. The peak is 255 for luma too, although
    luma ends at 235. Papers report it that way, and BasicSR's ``calculate_psnr`` computes it that way
    (https://github.com/XPixelGroup/BasicSR).

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
    """Returns the mean PSNR of the frames that differ, in dB.

    A frame that is the same in both videos, such as a black one in a fade, has an infinite PSNR. One such
    frame would make the mean infinite, so these frames are left out. If all frames are the same, the
    result is infinite.

    Args:
        values: (T,) in dB, T ≥ 1, as `psnr` returns them.
    """
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("inf")
