"""Parallel warping: every frame reads its neighbours' features along the optical flow.

Liang et al., "VRT: A Video Restoration Transformer", 2022, whose alignment is that of Chan et al.,
"BasicVSR++", CVPR 2022: a deformable convolution around where the flow points. All frames of a video are
aligned at once. Modules are named so that the published weights load.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.deform_conv import deform_conv2d
from fedvsr.models.warp import warp

_SLOPE = 0.1
_TAPS = 9


class FlowGuidedDeformConv(nn.Module):
    """Aligns neighbours' features with a frame's by a 3 × 3 deformable convolution.

    The positions and weights of the taps are computed from the neighbours moved along the flows, the frame
    and the flows; the positions are relative to the flow. With several neighbours, each makes its own
    share of the output channels.

    Args:
        channels: C, of the features.
        neighbours: How many neighbours are aligned together, K.
        groups: Groups of channels that read at positions of their own, divided among the neighbours.
        maximum_residue: How many pixels, at most, a tap may move from where the flow points.
    """

    def __init__(self, channels: int, neighbours: int, groups: int, maximum_residue: float) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.maximum_residue = maximum_residue
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Sequential(
            nn.Conv2d((1 + neighbours) * channels + 2 * neighbours, channels, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, 3 * _TAPS * groups, 3, padding=1),
        )
        bound = (channels * _TAPS) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        # At first all taps read where the flow points, and count alike.
        nn.init.zeros_(self.conv_offset[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv_offset[-1].bias)  # type: ignore[arg-type]

    def forward(self, sources: list[Tensor], current: Tensor, flows: list[Tensor]) -> Tensor:
        """Aligns K neighbours with a frame.

        Args:
            sources: The neighbours' features, K times (N, C, H, W).
            current: The frame's features, (N, C, H, W).
            flows: From the frame to each neighbour, K times (N, 2, H, W), in pixels.

        Returns:
            (N, C, H, W).
        """
        moved = [warp(source, flow) for source, flow in zip(sources, flows, strict=True)]
        predicted = self.conv_offset(torch.cat((*moved, current, *flows), 1))
        rows_and_columns, weights = predicted.split((predicted.shape[1] // 3 * 2, predicted.shape[1] // 3), 1)
        residue = self.maximum_residue * torch.tanh(rows_and_columns)
        aligned = [
            # The flow's channels are (right, down), the taps' (down, right).
            deform_conv2d(source, off + flow.flip(1).repeat(1, off.shape[1] // 2, 1, 1), mask, weight, bias)
            for source, flow, off, mask, weight, bias in zip(
                sources,
                flows,
                residue.chunk(self.neighbours, 1),
                torch.sigmoid(weights).chunk(self.neighbours, 1),
                self.weight.chunk(self.neighbours),
                self.bias.chunk(self.neighbours),
                strict=True,
            )
        ]
        return torch.cat(aligned, 1)


def align_ahead(align: FlowGuidedDeformConv, x: Tensor, flows: list[Tensor]) -> Tensor:
    """Aligns the frames that follow with every frame.

    Args:
        align: Aligns the K next frames with one.
        x: Features (N, T, C, H, W), T ≥ 2.
        flows: For each distance d from 1 to K, (N, T − d, 2, H, W) from frame t to frame t + d.

    Returns:
        (N, T, C, H, W), zeros for the last frame; zeros replace the frames and flows beyond the video's end.
    """
    N, T = x.shape[:2]
    sources = [_extended(x[:, d + 1 :], T - 1).flatten(0, 1) for d in range(len(flows))]
    extended = [_extended(flow, T - 1).flatten(0, 1) for flow in flows]
    aligned = align(sources, x[:, :-1].flatten(0, 1), extended)
    return _extended(aligned.view(N, T - 1, *aligned.shape[1:]), T)


def align_behind(align: FlowGuidedDeformConv, x: Tensor, flows: list[Tensor]) -> Tensor:
    """Aligns the frames before every frame with it: `align_ahead` with time reversed.

    Args:
        align: Aligns the K previous frames with one.
        x: Features (N, T, C, H, W), T ≥ 2.
        flows: For each distance d from 1 to K, (N, T − d, 2, H, W) from frame t + d to frame t.

    Returns:
        (N, T, C, H, W), zeros for the first frame.
    """
    return align_ahead(align, x.flip(1), [flow.flip(1) for flow in flows]).flip(1)


def read_corners(x: Tensor, flow: Tensor) -> Tensor:
    """Reads the four pixels around where the flow points, without mixing them.

    No gradient reaches the flow, since the corners change in jumps only. If the flow points almost exactly at
    a pixel, rounding decides which corners are read.

    Args:
        x: (N, C, H, W).
        flow: (N, 2, H, W) in pixels; channel 0 points right, channel 1 down.

    Returns:
        (N, 4·C, H, W): the corners upper left, lower left, upper right, lower right; zeros outside.
    """
    H, W = x.shape[-2:]
    columns = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    rows = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    corners = []
    for column in (columns.floor(), columns.ceil()):
        for row in (rows.floor(), rows.ceil()):
            grid = torch.stack((column * (2 / max(W - 1, 1)) - 1, row * (2 / max(H - 1, 1)) - 1), -1)
            corners.append(functional.grid_sample(x.to(grid.dtype), grid, "nearest", align_corners=True))
    return torch.cat(corners, 1).to(x.dtype)


def _extended(x: Tensor, count: int) -> Tensor:
    """Appends zeros to (N, T, C, H, W) until it has that many frames."""
    if x.shape[1] == count:
        return x
    return functional.pad(x, (0, 0, 0, 0, 0, 0, 0, count - x.shape[1]))
