"""BI: bicubic interpolation, as MATLAB's ``imresize`` does it."""

from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames
from fedvsr.video.resize import downscale


class BicubicInterpolation(Degradation):
    """Shrinks by MATLAB's antialiased bicubic interpolation (`fedvsr.video.resize`)."""

    name = "bi"
    scales = (2, 3, 4)

    def _degrade(self, frames: Frames, scale: int) -> Frames:
        return downscale(frames, scale)
