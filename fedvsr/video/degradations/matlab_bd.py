"""BD as the papers' MATLAB scripts make it: its pixels have the positions of bicubic interpolation.

BasicVSR's authors published the script (``BD_degradation.m``: σ = 1.6, ``fspecial`` with 12×12 taps,
``imfilter`` with replicated borders, then every s-th pixel from s/2), and VRT, RVRT and IART use it.
MATLAB centres an even kernel on its 6th tap, so the blur moves the image by half a pixel, and the
low-resolution pixel (i, j) is centred on (s·i + (s − 1)/2, s·j + (s − 1)/2). The older ``bd`` is centred
on (s·i, s·j): a network trained on one is 1.5 pixels off on the other at ×4, which costs BasicVSR's published
weights 13 dB on UDM10 (https://github.com/open-mmlab/mmagic/issues/803).

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR 2021,
https://arxiv.org/abs/2012.02181.
"""

import cv2
import numpy as np

from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames
from fedvsr.video.resize import to_uint8

_TAPS = 12
_SIGMA = 1.6
_ANCHOR = (5, 5)
"""Which tap lies on the pixel, counted from 0: MATLAB takes the 6th of 12."""


class MatlabBlurDownsampling(Degradation):
    """Blurs with a 12×12 Gaussian of σ = 1.6 pixels and keeps every ``scale``-th pixel from s/2."""

    name = "matlab-bd"
    description = "the papers' BD: Gaussian blur (σ = 1.6, 12×12), then every s-th pixel from s/2"
    source = (
        "Chan et al., BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond, "
        "CVPR 2021, https://arxiv.org/abs/2012.02181"
    )
    scales = (2, 4)

    def reach(self, scale: int) -> int:
        return -(-_TAPS // 2 // scale) + 1

    def _degrade(self, frames: Frames, scale: int) -> Frames:
        height, width = frames.shape[-3:-1]
        weights = np.exp(-0.5 * ((np.arange(_TAPS) - (_TAPS - 1) / 2) / _SIGMA) ** 2)
        weights /= weights.sum()
        small = np.empty((len(frames), height // scale, width // scale, 3), np.uint8)
        for source, target in zip(frames, small, strict=True):
            blurred = cv2.sepFilter2D(
                source, cv2.CV_64F, weights, weights, anchor=_ANCHOR, borderType=cv2.BORDER_REPLICATE
            )
            first = scale // 2 - 1
            target[:] = to_uint8(blurred[first::scale, first::scale])
        return small
