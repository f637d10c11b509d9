"""Luma, the channel that most super-resolution papers report."""

import numpy as np
from numpy.typing import NDArray

_WEIGHTS = np.array((65.481, 128.553, 24.966))
_BLACK = 16.0


def rgb_to_y(frames: NDArray[np.uint8] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the luma of RGB frames: the first channel of MATLAB's ``rgb2ycbcr``.

    Studio swing: Y = 16 + 65.481 R + 128.553 G + 24.966 B with R, G, B in [0, 1].

    Args:
        frames: (…, 3), RGB: uint8 in 0 … 255 or floating in [0, 1].

    Returns:
        (…) float64, from 16 (black) to 235 (white). Values are not rounded.

    Source: ITU-R BT.601, "Studio encoding parameters of digital television for standard 4:3 and wide
    screen 16:9 aspect ratios", https://www.itu.int/rec/R-REC-BT.601.
    """
    weights = _WEIGHTS / 255 if frames.dtype == np.uint8 else _WEIGHTS
    return np.asarray(frames @ weights + _BLACK, np.float64)
