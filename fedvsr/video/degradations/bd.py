"""BD: Gaussian blur, then every s-th pixel.

Published scripts agree on σ = 1.6 and 13×13 taps at ×4 and differ in phase and borders. At ×4 this is
the degradation of DUF as the field's libraries evaluate it (BasicSR's ``duf_downsample``): the low-resolution
pixel (i, j) is centred on the ground-truth pixel (s·i, s·j), phase 0. Beyond the border the image is
reflected without repeating the border pixel (PyTorch's ``reflect``). The blur is the same at every scale;
DUF's own script narrows it to σ = 0.4·s.

Jo et al., "Deep Video Super-Resolution Network Using Dynamic Upsampling Filters Without Explicit Motion
Compensation", CVPR 2018, https://doi.org/10.1109/CVPR.2018.00340.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import VideoError
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames
from fedvsr.video.resize import to_uint8

_RADIUS = 6
_SIGMA = 1.6


class BlurDownsampling(Degradation):
    """Blurs with a 13×13 Gaussian of σ = 1.6 pixels and keeps every ``scale``-th pixel from the first."""

    name = "bd"
    description = "Gaussian blur (σ = 1.6, 13×13), then every s-th pixel from the first"
    source = (
        "Jo et al., Deep Video Super-Resolution Network Using Dynamic Upsampling Filters Without Explicit "
        "Motion Compensation, CVPR 2018, https://doi.org/10.1109/CVPR.2018.00340"
    )
    scales = (2, 3, 4)

    def reach(self, scale: int) -> int:
        # A part must have more than the radius of ground-truth pixels, as a whole frame.
        return -(-_RADIUS // scale) + 1

    def _degrade(self, frames: Frames, scale: int) -> Frames:
        height, width = frames.shape[-3:-1]
        if min(height, width) <= _RADIUS:
            raise VideoError(
                f"frames of {width}×{height} pixels are too small for the blur of {self.name!r}; "
                f"it needs more than {_RADIUS} pixels a side, so leave this video out"
            )
        weights = _gaussian(_SIGMA)
        small = np.empty((len(frames), height // scale, width // scale, 3), np.uint8)
        for source, target in zip(frames, small, strict=True):
            blurred = cv2.sepFilter2D(source, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REFLECT_101)
            target[:] = to_uint8(blurred[::scale, ::scale])
        return small


def _gaussian(sigma: float) -> NDArray[np.float64]:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float64)
