"""Moving a feature map along an optical flow."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def warp(x: Tensor, flow: Tensor, padding: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Reads every pixel at the position that the flow points to, bilinearly.

    Args:
        x: (N, C, H, W), floating.
        flow: (N, 2, H, W) in pixels; channel 0 points right, channel 1 down.
        padding: The values outside: zeros, or the nearest border pixel.

    Returns:
        (N, C, H, W): at (row, column) the value of ``x`` at (row + flow₁, column + flow₀).
    """
    H, W = x.shape[-2:]
    columns = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    rows = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    # grid_sample counts from −1 at the first pixel's centre to 1 at the last one's.
    grid = torch.stack((columns * (2 / max(W - 1, 1)) - 1, rows * (2 / max(H - 1, 1)) - 1), -1)
    # Positions need the flow's precision, which under autocast is higher than the features'.
    moved = functional.grid_sample(x.to(grid.dtype), grid, "bilinear", padding, align_corners=True)
    return moved.to(x.dtype)
