"""Reading a feature map along an optical flow."""

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
    rows, columns = _positions(flow)
    # Positions need the flow's precision, which under autocast is higher than that of the features.
    grid = _sampling_grid(rows, columns)
    warped = functional.grid_sample(x.to(grid.dtype), grid, "bilinear", padding, align_corners=True)
    return warped.to(x.dtype)


def sample_corners(x: Tensor, flow: Tensor) -> Tensor:
    """Reads the four pixels around where the flow points, without interpolation.

    VRT's first layer gets these four pixels of the next and of the previous frame.

    No gradient reaches the flow, because floor and ceil are piecewise constant. Near integer positions,
    rounding errors decide between floor and ceil.

    Args:
        x: (N, C, H, W).
        flow: (N, 2, H, W) in pixels; channel 0 points right, channel 1 down.

    Returns:
        (N, 4·C, H, W): the corners upper left, lower left, upper right, lower right; zeros outside.
    """
    rows, columns = _positions(flow)
    corners = []
    for column in (columns.floor(), columns.ceil()):
        for row in (rows.floor(), rows.ceil()):
            grid = _sampling_grid(row, column)
            corners.append(functional.grid_sample(x.to(grid.dtype), grid, "nearest", align_corners=True))
    return torch.cat(corners, 1).to(x.dtype)


def _positions(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows and columns that a flow points to, (N, H, W) each."""
    H, W = flow.shape[-2:]
    columns = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    rows = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    return rows, columns


def _sampling_grid(rows: Tensor, columns: Tensor) -> Tensor:
    """Scales positions for grid_sample: from −1 at the first pixel's centre to 1 at the last one's."""
    H, W = rows.shape[-2:]
    return torch.stack((columns * (2 / max(W - 1, 1)) - 1, rows * (2 / max(H - 1, 1)) - 1), -1)
