"""The stages of VRT: seven that also warp, at four scales, and stages that only refine.

Liang et al., "VRT: A Video Restoration Transformer", 2022. Modules are named so that the published weights
load. Features have their channels last here: (N, T, H, W, C).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from fedvsr.models.vrt_attention import AttentionGroup, GatedMLP
from fedvsr.models.vrt_warping import FlowGuidedDeformConv, align_ahead, align_behind
from fedvsr.models.windows import Extent

Resizing = Literal["none", "down", "up"]

_MUTUAL_SHARE = 0.75
"""How many of a stage's blocks have mutual attention; the others look through longer windows."""


class WarpingStage(nn.Module):
    """Halves, doubles or keeps the size, attends, and fuses each frame with its warped neighbours.

    Args:
        resizing: How the size changes.
        channels: C, a multiple of 4 and of the heads.
        heads: Attention heads.
        window: The extent of a window.
        rates: The rate of stochastic depth of each block of this stage; as published, the blocks without
            mutual attention start again at the first of them.
        neighbours: How many frames are warped from either side, K.
        groups: Deformable groups.
        maximum_residue: How many pixels, at most, a tap may move from where the flow points.
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
        self.reshape = _resizing(resizing, channels)
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
            ahead: The flows to the frames that follow, at this stage's scale: for each distance d
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
    """Self-attention blocks with a skip connection around them.

    Args:
        channels: C, a multiple of the heads.
        heads: Attention heads.
        window: The extent of a window.
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


def widening(channels: int, wider: int) -> nn.Sequential:
    """Returns layers that map (N, T, H, W, channels) to (N, T, H, W, wider)."""
    return nn.Sequential(nn.Identity(), nn.LayerNorm(channels), nn.Linear(channels, wider))


class _Halve(nn.Module):
    """Stacks 2 × 2 pixels' channels: column by column, each from top to bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to (N, T, H/2, W/2, 4·C)."""
        N, T, H, W, C = x.shape
        x = x.reshape(N, T, H // 2, 2, W // 2, 2, C)
        return x.permute(0, 1, 2, 4, 5, 3, 6).reshape(N, T, H // 2, W // 2, 4 * C)


class _Double(nn.Module):
    """Spreads channels over 2 × 2 pixels: the inverse of `_Halve`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to (N, T, 2·H, 2·W, C/4)."""
        N, T, H, W, C = x.shape
        x = x.reshape(N, T, H, W, 2, 2, C // 4)
        return x.permute(0, 1, 2, 5, 3, 4, 6).reshape(N, T, 2 * H, 2 * W, C // 4)


def _resizing(resizing: Resizing, channels: int) -> nn.Sequential:
    # The published modules count the change of layout as the first of each.
    if resizing == "down":
        return nn.Sequential(_Halve(), nn.LayerNorm(4 * channels), nn.Linear(4 * channels, channels))
    if resizing == "up":
        return nn.Sequential(_Double(), nn.LayerNorm(channels // 4), nn.Linear(channels // 4, channels))
    return nn.Sequential(nn.Identity(), nn.LayerNorm(channels))
