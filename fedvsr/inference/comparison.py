"""An upscaled frame beside what plain interpolation makes of the same frame."""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fedvsr.inference.tiles import upscale_tiles
from fedvsr.models.bicubic import Bicubic, upscale_bicubic
from fedvsr.video.frames import AnyFrames

_TILE = 512


class _Interpolation(nn.Module):
    """Bicubic interpolation by any factor."""

    spatial_context = Bicubic.spatial_context

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return upscale_bicubic(x, self.scale)


def beside_bicubic(frame: AnyFrames, upscaled: AnyFrames, device: torch.device) -> AnyFrames:
    """Puts bicubic interpolation on the left of an upscaled frame.

    Args:
        frame: The input frame (h, w, 3), uint8 or uint16.
        upscaled: The upscaled frame (s·h, s·w, 3) of the same dtype.
        device: The device for the interpolation.

    Returns:
        (s·h, 2·s·w, 3) of the same dtype.
    """
    scale = upscaled.shape[1] // frame.shape[1]
    with torch.inference_mode():
        (left,) = upscale_tiles(_Interpolation(scale), [frame], slice(None), device, _TILE, blend=0)
    return cast("AnyFrames", np.concatenate((left, upscaled), axis=1))
