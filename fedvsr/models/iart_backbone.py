"""IART's backbone: a Swin transformer over three aligned feature maps.

Source: Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022,
https://arxiv.org/abs/2207.08494. Modules are named so that the published weights load. In this file features
have their channels last: (N, T, H, W, C).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.stochastic_depth import StochasticDepth, rising_rates
from fedvsr.models.windows import (
    Extent,
    attend,
    from_windows,
    heads_of,
    pad_to_windows,
    relative_position_count,
    relative_position_index,
    roll,
    shift_mask,
    to_windows,
)

FRAMES = 3
"""Number of feature maps; every window covers all of them."""

_EXPANSION = 2
_UNUSED_CHANNELS = 64
_INITIAL_DEVIATION = 0.02


class Backbone(nn.Module):
    """Groups of transformer blocks over three feature maps; returns the refined middle one.

    The published files contain three unused convolutions of an earlier network. They exist here, frozen, so
    that the files load.

    Args:
        channels: Number of channels, C; a multiple of ``heads``.
        groups: Number of groups of blocks.
        depth: Number of blocks of a group; every other one has its windows shifted by half.
        heads: Number of attention heads.
        window_size: Rows and columns of a window.
        drop_path_rate: The last block's rate of stochastic depth.
    """

    def __init__(
        self, channels: int, groups: int, depth: int, heads: int, window_size: int, drop_path_rate: float
    ) -> None:
        super().__init__()
        window = (FRAMES, window_size, window_size)
        self.window = window
        self.shift = (0, window_size // 2, window_size // 2)
        self.conv_first = _conv(3, channels).requires_grad_(False)
        self.conv_first_feat = _conv(_UNUSED_CHANNELS, channels).requires_grad_(False)
        self.conv_before_upsample = _conv(channels, _UNUSED_CHANNELS).requires_grad_(False)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(channels)})
        self.layers = nn.ModuleList(
            _Group(channels, heads, window, rates) for rates in rising_rates(drop_path_rate, [depth] * groups)
        )
        self.norm = nn.LayerNorm(channels)
        self.conv_after_body = _conv(channels, channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_DEVIATION)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 3, C, H, W) to (N, C, H, W)."""
        middle = FRAMES // 2
        features = self.patch_embed["norm"](x.permute(0, 1, 3, 4, 2))
        H, W = features.shape[2:4]
        _, h, w = self.window
        padded_extent = (FRAMES, -(-H // h) * h, -(-W // w) * w)
        mask = shift_mask(padded_extent, self.window, self.shift, x.device)
        for layer in self.layers:
            features = layer(features, self.shift, mask)
        refined: Tensor = self.conv_after_body(self.norm(features[:, middle]).permute(0, 3, 1, 2))
        return x[:, middle] + refined


class _Group(nn.Module):
    """Blocks and a convolution, with a skip connection around them."""

    def __init__(self, channels: int, heads: int, window: Extent, rates: list[float]) -> None:
        super().__init__()
        self.residual_group = _Blocks(channels, heads, window, rates)
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor, shift: Extent, mask: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape."""
        refined = self.residual_group(x, shift, mask).flatten(0, 1)
        maps: Tensor = self.conv(refined.permute(0, 3, 1, 2))
        return x + maps.permute(0, 2, 3, 1).view(x.shape)


class _Blocks(nn.Module):
    """Consecutive blocks; every other one has its windows shifted."""

    def __init__(self, channels: int, heads: int, window: Extent, rates: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(channels, heads, window, rate) for rate in rates)

    def forward(self, x: Tensor, shift: Extent, mask: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape."""
        for number, block in enumerate(self.blocks):
            x = block(x, shift, mask) if number % 2 else block(x, (0, 0, 0), None)
        return x


class AttentionBlock(nn.Module):
    """Attention within windows, then an MLP, each with a skip connection around it.

    Args:
        channels: Number of channels, C; a multiple of ``heads``.
        heads: Number of attention heads.
        window: Size of a window, (frames, rows, columns).
        rate: The rate of stochastic depth.
    """

    def __init__(self, channels: int, heads: int, window: Extent, rate: float) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels)
        self.attn = _WindowAttention(channels, heads, window)
        self.drop_path = StochasticDepth(rate)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = _MLP(channels, _EXPANSION * channels)

    def forward(self, x: Tensor, shift: Extent, mask: Tensor | None) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape.

        Args:
            x: The features.
            shift: How far the windows are shifted.
            mask: `fedvsr.models.windows.shift_mask` of that shift; None without a shift.
        """
        x = x + self.drop_path(self._attend(self.norm1(x), shift, mask))
        refined: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + refined

    def _attend(self, x: Tensor, shift: Extent, mask: Tensor | None) -> Tensor:
        H, W = x.shape[2:4]
        padded = pad_to_windows(x, self.window)
        windows = to_windows(roll(padded, (-shift[0], -shift[1], -shift[2])), self.window)
        padded_extent = (padded.shape[1], padded.shape[2], padded.shape[3])
        return roll(from_windows(self.attn(windows, mask), self.window, padded_extent), shift)[:, :, :H, :W]


class _WindowAttention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: Extent) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty(relative_position_count(window), heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=_INITIAL_DEVIATION)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Maps (windows, positions, C) to the same shape."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        y: Tensor = self.proj(attend(*heads_of(self.qkv(x), self.heads), bias, mask))
        return y


class _MLP(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return y


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
