"""Bicubic interpolation: the baseline, and the base to which residual models add.

Keys, "Cubic Convolution Interpolation for Digital Image Processing", IEEE Transactions on Acoustics, Speech,
and Signal Processing 29(6), 1981, https://doi.org/10.1109/TASSP.1981.1163711.
"""

import torch
from torch import Tensor, nn

from fedvsr.config.base import NoOptions
from fedvsr.models.base import check_scale

_A = -0.5
_RADIUS = 2
"""Number of source pixels on either side that the kernel reaches."""


class Bicubic(nn.Module):
    """Upscales every frame by bicubic interpolation; it has no parameters.

    Args:
        scale: 2, 3 or 4.
        options: None or empty.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 2, 3 or 4.
    """

    description = "bicubic interpolation, the floor that every model must beat"
    source = (
        "Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE TASSP 1981, "
        "https://doi.org/10.1109/TASSP.1981.1163711"
    )
    parameter_count = 0
    Options = NoOptions

    temporal_context = 0
    spatial_context = _RADIUS

    def __init__(self, scale: int, options: NoOptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (2, 3, 4), "bicubic")
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) to (N, T, 3, s·h, s·w); overshoots are not clipped."""
        return upscale_bicubic(x, self.scale)


def upscale_bicubic(x: Tensor, scale: int) -> Tensor:
    """Upscales the last two dimensions like MATLAB's ``imresize``.

    The kernel is that of Keys with a = −0.5. Pixels are squares: the centre of output pixel i is at
    (i + 0.5)/s − 0.5. Beyond the border the image is mirrored, with the border pixel repeated.

    Args:
        x: (…, h, w) of a floating dtype, any range.
        scale: An integer of at least 1.

    Returns:
        (…, s·h, s·w) of the same dtype, not clipped.
    """
    return _upscale_axis(_upscale_axis(x, scale, -2), scale, -1)


def cubic_kernel(distance: float) -> float:
    """Returns the weight of a source pixel at a distance, in source pixels (Keys, a = −0.5)."""
    d = abs(distance)
    if d < 1:
        return (_A + 2) * d**3 - (_A + 3) * d**2 + 1
    if d < _RADIUS:
        return _A * (d**3 - 5 * d**2 + 8 * d - 4)
    return 0.0


def _upscale_axis(x: Tensor, scale: int, axis: int) -> Tensor:
    size = x.shape[axis]
    padded = x.index_select(axis, _mirrored(size, x.device))
    # All output pixels s·i + p of one phase p use the same short filter over the source.
    phases = []
    for phase in range(scale):
        centre = (phase + 0.5) / scale - 0.5
        taps = [(offset, cubic_kernel(centre - offset)) for offset in range(-_RADIUS, _RADIUS + 1)]
        total = torch.zeros_like(x)
        for offset, weight in taps:
            if weight:
                total = torch.add(total, padded.narrow(axis, offset + _RADIUS, size), alpha=weight)
        phases.append(total)
    return torch.stack(phases, axis).flatten(axis - 1, axis)


def _mirrored(size: int, device: torch.device) -> Tensor:
    """Returns the source indices of a side that is extended by the kernel's radius and mirrored."""
    positions = torch.arange(-_RADIUS, size + _RADIUS, device=device) % (2 * size)
    return torch.minimum(positions, 2 * size - 1 - positions)
