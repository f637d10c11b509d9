"""BI: downscaling by bicubic interpolation, like MATLAB's ``imresize``.

Keys, "Cubic Convolution Interpolation for Digital Image Processing", IEEE Transactions on Acoustics, Speech,
and Signal Processing 29(6), 1981, https://doi.org/10.1109/TASSP.1981.1163711; MATLAB widens the kernel by the
scale (https://www.mathworks.com/help/images/ref/imresize.html).
"""

from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames
from fedvsr.video.resize import downscale


class BicubicDegradation(Degradation):
    """Downscales frames with MATLAB's antialiased bicubic interpolation (`fedvsr.video.resize`)."""

    name = "bi"
    description = "MATLAB's bicubic interpolation, antialiased (imresize)"
    source = (
        "Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE TASSP 1981, "
        "https://doi.org/10.1109/TASSP.1981.1163711"
    )
    scales = (2, 3, 4)

    def _degrade(self, frames: Frames, scale: int) -> Frames:
        return downscale(frames, scale)

    def reach(self, scale: int) -> int | None:
        # The kernel is 4 low-resolution pixels wide. At ×3 its weights are rounded, and not the same at every
        # position, so a part may be rounded differently.
        return 2 if scale in (2, 4) else None
