"""RVRT's blocks: Swin transformer layers over windows of a few frames.

Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention", NeurIPS 2022,
https://arxiv.org/abs/2206.02146; Liu et al., "Video Swin Transformer", CVPR 2022,
https://arxiv.org/abs/2106.13230. Modules are named so that the published weights load.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.frame_conv import FrameConv
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

_EXPANSION = 2


class Permute(nn.Module):
    """Reorders a tensor's dimensions."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, over the last dimension of (…, C)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return y


class TransformerTrunk(nn.Module):
    """Maps (N, T, I, H, W) to (N, T, C, H, W): a 3 × 3 convolution, then residual groups of layers.

    Frames of different windows do not interact. H and W are at least the window's.

    Args:
        inputs: Number of input channels, I.
        channels: Number of channels, C; a multiple of ``heads``.
        blocks: Number of residual groups.
        depth: Number of transformer layers of a group; every other one has its windows shifted by half.
        heads: Number of attention heads.
        window: Size of a window, (frames, rows, columns).
    """

    def __init__(
        self, inputs: int, channels: int, blocks: int, depth: int, heads: int, window: Extent
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(
            # The identities take the places of the published layout changes, so that the numbers of the
            # layers agree.
            nn.Identity(),
            FrameConv(inputs, channels, 3),
            Permute(0, 1, 3, 4, 2),
            nn.LayerNorm(channels),
            nn.Identity(),
            nn.Sequential(*(_ResidualGroup(channels, depth, heads, window) for _ in range(blocks))),
            nn.Identity(),
            nn.LayerNorm(channels),
            Permute(0, 1, 4, 2, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.main(x)
        return features


class _ResidualGroup(nn.Module):
    """Transformer layers and a linear layer over (N, T, H, W, C), with a skip connection around them."""

    def __init__(self, channels: int, depth: int, heads: int, window: Extent) -> None:
        super().__init__()
        self.residual_group = _Layers(channels, depth, heads, window)
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.linear(self.residual_group(x))
        return x + residual


class _Layers(nn.Module):
    """Transformer layers over (N, T, H, W, C), alternately in windows and in shifted windows."""

    def __init__(self, channels: int, depth: int, heads: int, window: Extent) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(_Layer(channels, heads, window) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        lengths = list(zip(x.shape[1:4], self.window, strict=True))
        # If one window covers a whole dimension, no shift is needed.
        t, h, w = (window_length // 2 if length > window_length else 0 for length, window_length in lengths)
        shift = (t, h, w)
        T, H, W = (-(-length // window_length) * window_length for length, window_length in lengths)
        mask = shift_mask((T, H, W), self.window, shift, x.device) if any(shift) else None
        for number, layer in enumerate(self.blocks):
            x = layer(x, shift, mask) if number % 2 else layer(x, (0, 0, 0), None)
        return x


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int, window: Extent) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = _WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels, _EXPANSION * channels)

    def forward(self, x: Tensor, shift: Extent, mask: Tensor | None) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape.

        Args:
            x: The features.
            shift: How far the windows are shifted.
            mask: `fedvsr.models.windows.shift_mask` of that shift; None without a shift.
        """
        x = x + self.attn(self.norm1(x), shift, mask)
        residual: Tensor = self.mlp(self.norm2(x))
        return x + residual


class _WindowAttention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: Extent) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros(relative_position_count(window), heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv_self = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, shift: Extent, mask: Tensor | None) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape; the last windows are padded with zeros."""
        T, H, W = x.shape[1:4]
        padded = pad_to_windows(x, self.window)
        t, h, w = padded.shape[1:4]
        towards_start = (-shift[0], -shift[1], -shift[2])
        windows = to_windows(roll(padded, towards_start), self.window)
        query, key, value = heads_of(self.qkv_self(windows), self.heads)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        attended = self.proj(attend(query, key, value, bias, mask))
        return roll(from_windows(attended, self.window, (t, h, w)), shift)[:, :T, :H, :W]
