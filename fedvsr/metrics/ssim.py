"""Structural similarity."""

import cv2
import numpy as np
from numpy.typing import NDArray

from fedvsr.metrics.frames import Channel, crop, frame_pairs

_PEAK = 255.0
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2
_SIGMA = 1.5
_RADIUS = 5
MIN_SIDE = 2 * _RADIUS + 1
"""The smallest height and width of a frame, in pixels: those of the window."""


def ssim(
    a: NDArray[np.uint8], b: NDArray[np.uint8], crop_border: int = 0, channel: Channel = "rgb"
) -> NDArray[np.float64]:
    """Returns the mean structural similarity of every frame.

    Uses an 11 × 11 Gaussian window with σ = 1.5, K₁ = 0.01, K₂ = 0.03, and a dynamic range of 255. Only
    windows that lie entirely inside the frame count. With ``rgb`` the result is the mean of the three
    channels' similarities.

    Args:
        a: (T, H, W, 3) uint8, RGB.
        b: Of the same shape.
        crop_border: Pixels to leave out at each of the four sides.
        channel: ``rgb``, or ``y`` for luma alone.

    Returns:
        (T,) from −1 to 1; 1 for a frame that is the same in both.

    Raises:
        fedvsr.errors.InputError: The videos cannot be compared, or a frame is smaller than the window.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP
    2004, https://doi.org/10.1109/TIP.2003.819861.
    """
    pairs = frame_pairs(a, b, crop_border, channel, minimum=MIN_SIDE)
    return np.array([_frame_ssim(x, y) for x, y in pairs])


def _frame_ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return float((luminance * structure).mean())


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the Gaussian-weighted mean of each window that lies entirely inside the image (H, W, C)."""
    blurred: NDArray[np.float64] = cv2.sepFilter2D(image, -1, _WINDOW, _WINDOW)
    # OpenCV drops an axis of length 1.
    return crop(blurred.reshape(image.shape), _RADIUS)


def _window() -> NDArray[np.float64]:
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


_WINDOW = _window()
