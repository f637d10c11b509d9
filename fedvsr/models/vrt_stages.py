"""The stages of VRT: seven that also warp, at four resolutions, and stages that only refine.

Source: Liang et al., "VRT: A Video Restoration Transformer", 2022, https://arxiv.org/abs/2201.12288. Modules
are named so that the published weights load. In this file features have their channels last: (N, T, H, W, C).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from fedvsr.models.vrt_alignment import FlowGuidedDeformConv, align_ahead, align_behind
from fedvsr.models.vrt_attention import AttentionGroup, GatedMLP
from fedvsr.models.windows import Extent

Resizing = Literal["none", "down", "up"]

_MUTUAL_SHARE = 0.75
"""Share of a stage's blocks that have mutual attention; the others attend within longer windows."""


class WarpingStage(nn.Module):
    """Halves, doubles or keeps the size, attends, and fuses each frame with its warped neighbours.

    Args:
        resizing: How height and width change.
        channels: Number of channels, C; a multiple of 4 and of ``heads``.
        heads: Number of attention heads.
        window: Size of a window, (frames, rows, columns).
        rates: The rate of stochastic depth of each block of this stage. As in the published code, the blocks
            without mutual attention start again at the first rate.
        neighbours: Number of frames that are warped from either side, K.
        groups: Number of deformable groups; see `FlowGuidedDeformConv`.
        maximum_residue: Largest predicted offset of a tap, in pixels, per axis.
    """

    def __init__(
        self,
        resizing: Resizing,
        channels: int,
        heads: int,
        window: Extent,
        rates: list[float],
        neighbours: int,
        groups: int,
        maximum_residue: float,
    ) -> None:
        super().__init__()
        mutual = int(len(rates) * _MUTUAL_SHARE)
        pair = (2, window[1], window[2])
        self.reshape = _resizing_layers(resizing, channels)
        self.residual_group1 = AttentionGroup(channels, heads, pair, True, rates[:mutual])
        self.linear1 = nn.Linear(channels, channels)
        self.residual_group2 = AttentionGroup(channels, heads, window, False, rates[: len(rates) - mutual])
        self.linear2 = nn.Linear(channels, channels)
        self.pa_deform = FlowGuidedDeformConv(channels, neighbours, groups, maximum_residue)
        self.pa_fuse = GatedMLP(3 * channels, 3 * channels, channels)

    def forward(self, x: Tensor, ahead: list[Tensor], behind: list[Tensor]) -> Tensor:
        """Refines and aligns a video's features.

        Args:
            x: (N, T, H', W', C), T ≥ 2; H' and W' are H and W after the resizing.
            ahead: The flows to the following frames, at this stage's resolution: for each distance d
                from 1 to K, (N, T − d, 2, H, W) from frame t to frame t + d.
            behind: Of the same shapes, from frame t + d to frame t.

        Returns:
            (N, T, H, W, C).
        """
        x = self.reshape(x)
        x = x + self.linear1(self.residual_group1(x))
        x = x + self.linear2(self.residual_group2(x))
        maps = x.permute(0, 1, 4, 2, 3)
        warped = (align_ahead(self.pa_deform, maps, ahead), align_behind(self.pa_deform, maps, behind))
        fused: Tensor = self.pa_fuse(
            torch.cat((x, *(frames.permute(0, 1, 3, 4, 2) for frames in warped)), -1)
        )
        return fused


class RefiningStage(nn.Module):
    """Refines a video's features by self-attention blocks with a skip connection around them.

    Args:
        channels: Number of channels, C; a multiple of ``heads``.
        heads: Number of attention heads.
        window: Size of a window, (frames, rows, columns).
        rates: The rate of stochastic depth of each block.
    """

    def __init__(self, channels: int, heads: int, window: Extent, rates: list[float]) -> None:
        super().__init__()
        self.residual_group = AttentionGroup(channels, heads, window, False, rates)
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape."""
        refined: Tensor = self.linear(self.residual_group(x))
        return x + refined


def widening_layers(channels: int, wider: int) -> nn.Sequential:
    """Returns layers that map (N, T, H, W, channels) to (N, T, H, W, wider)."""
    return nn.Sequential(nn.Identity(), nn.LayerNorm(channels), nn.Linear(channels, wider))


class _Halve(nn.Module):
    """Stacks the channels of 2 × 2 pixels: the left column from top to bottom, then the right one."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to (N, T, H/2, W/2, 4·C)."""
        N, T, H, W, C = x.shape
        x = x.reshape(N, T, H // 2, 2, W // 2, 2, C)
        return x.permute(0, 1, 2, 4, 5, 3, 6).reshape(N, T, H // 2, W // 2, 4 * C)


class _Double(nn.Module):
    """Distributes channels to 2 × 2 pixels: the inverse of `_Halve`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to (N, T, 2·H, 2·W, C/4)."""
        N, T, H, W, C = x.shape
        x = x.reshape(N, T, H, W, 2, 2, C // 4)
        return x.permute(0, 1, 2, 5, 3, 4, 6).reshape(N, T, 2 * H, 2 * W, C // 4)


def _resizing_layers(resizing: Resizing, channels: int) -> nn.Sequential:
    # The first layer takes the place of the published layout change, so that the numbers of the layers agree.
    if resizing == "down":
        return nn.Sequential(_Halve(), nn.LayerNorm(4 * channels), nn.Linear(4 * channels, channels))
    if resizing == "up":
        return nn.Sequential(_Double(), nn.LayerNorm(channels // 4), nn.Linear(channels // 4, channels))
    return nn.Sequential(nn.Identity(), nn.LayerNorm(channels))
