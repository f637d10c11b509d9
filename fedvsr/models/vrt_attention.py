"""The attention of VRT: self-attention within windows, and mutual attention between a window's two frames.

Source: Liang et al., "VRT: A Video Restoration Transformer", 2022, https://arxiv.org/abs/2201.12288, section
3.3. Modules are named so that the published weights load. In this file features have their channels last:
(N, T, H, W, C).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.sine_positions import EPSILON, encode_positions
from fedvsr.models.stochastic_depth import StochasticDepth
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
_TEMPERATURE = 10_000


class AttentionGroup(nn.Module):
    """Transformer blocks one after the other, every other one with its windows shifted by half.

    If an axis is not longer than the window, one window covers it and it is not shifted.

    Args:
        channels: Number of channels, C; a multiple of 4 and of ``heads``.
        heads: Number of attention heads.
        window: Size of a window, (frames, rows, columns); with mutual attention it has two frames.
        mutual: Whether the two frames of a window also attend to each other.
        rates: The rate of stochastic depth of each block.
    """

    def __init__(self, channels: int, heads: int, window: Extent, mutual: bool, rates: list[float]) -> None:
        super().__init__()
        self.window = window
        self.shift = (window[0] // 2, window[1] // 2, window[2] // 2)
        self.blocks = nn.ModuleList(AttentionBlock(channels, heads, window, mutual, rate) for rate in rates)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape."""
        extent = x.shape[1:4]
        window = _clip_window(self.window, extent)
        shift = _as_extent(
            tuple(
                0 if length <= window_length else shift_length
                for length, window_length, shift_length in zip(extent, self.window, self.shift, strict=True)
            )
        )
        mask = None
        if any(shift) and len(self.blocks) > 1:
            padded_extent = tuple(
                -(-length // window_length) * window_length
                for length, window_length in zip(extent, window, strict=True)
            )
            mask = shift_mask(_as_extent(padded_extent), window, shift, x.device)
        for number, block in enumerate(self.blocks):
            is_shifted = number % 2 == 1
            block_shift, block_mask = (shift, mask) if is_shifted else ((0, 0, 0), None)
            x = block(x, window, block_shift, block_mask)
        return x


class GatedMLP(nn.Module):
    """A GEGLU: multiplies two parallel linear layers, one of them after a GELU; a third maps to the output.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020, https://arxiv.org/abs/2002.05202.

    Args:
        inputs: Number of input channels.
        hidden: Number of channels of the parallel layers.
        outputs: Number of output channels.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc11 = nn.Linear(inputs, hidden)
        self.fc12 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, inputs) to (…, outputs)."""
        y: Tensor = self.fc2(functional.gelu(self.fc11(x)) * self.fc12(x))
        return y


class AttentionBlock(nn.Module):
    """Attention within windows, then a gated MLP, each with a skip connection around it.

    Args:
        channels: Number of channels, C; a multiple of 4 and of ``heads``.
        heads: Number of attention heads.
        window: Size of a window, (frames, rows, columns).
        mutual: Whether the two frames of a window also attend to each other.
        rate: The rate of stochastic depth.
    """

    def __init__(self, channels: int, heads: int, window: Extent, mutual: bool, rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = _WindowAttention(channels, heads, window, mutual)
        self.drop_path = StochasticDepth(rate)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = GatedMLP(channels, _EXPANSION * channels, channels)

    def forward(self, x: Tensor, window: Extent, shift: Extent, mask: Tensor | None) -> Tensor:
        """Maps (N, T, H, W, C) to the same shape.

        Args:
            x: The features.
            window: Size of a window, at most the constructor's.
            shift: How far the windows are shifted.
            mask: `fedvsr.models.windows.shift_mask` of that shift; None without a shift.
        """
        x = x + self.drop_path(self._attend(self.norm1(x), window, shift, mask))
        refined: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + refined

    def _attend(self, x: Tensor, window: Extent, shift: Extent, mask: Tensor | None) -> Tensor:
        _, T, H, W, _ = x.shape
        padded = pad_to_windows(x, window)
        padded_extent = _as_extent(tuple(padded.shape[1:4]))
        windows = to_windows(roll(padded, (-shift[0], -shift[1], -shift[2])), window)
        whole = roll(from_windows(self.attn(windows, mask), window, padded_extent), shift)
        return whole[:, :T, :H, :W]


class _WindowAttention(nn.Module):
    """Self-attention, and if mutual, attention between a window's two frames, fused by a linear layer."""

    relative_position_index: Tensor
    position_bias: Tensor

    def __init__(self, channels: int, heads: int, window: Extent, mutual: bool) -> None:
        super().__init__()
        self.heads = heads
        self.mutual = mutual
        self.relative_position_bias_table = nn.Parameter(torch.empty(relative_position_count(window), heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv_self = nn.Linear(channels, 3 * channels)
        if mutual:
            self.register_buffer("position_bias", _encode_window_positions(window[1], window[2], channels))
            self.qkv_mut = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(2 * channels if mutual else channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Maps (windows, positions, C) to the same shape."""
        length = x.shape[1]
        # A video with fewer frames than the window has a shorter window. Positions are ordered by frame, so
        # its indices are the first ones. Only frames can be fewer: vrt.py pads height and width.
        index = self.relative_position_index[:length, :length]
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)
        attended = attend(*heads_of(self.qkv_self(x), self.heads), bias, mask)
        if self.mutual:
            attended = torch.cat((self._mutual(x, mask), attended), 2)
        y: Tensor = self.proj(attended)
        return y

    def _mutual(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Applies cross-attention between a window's two frames.

        At the first frame, queries of the second frame attend to keys and values of the first; at the second
        frame it is the reverse.
        """
        half = x.shape[1] // 2
        projected = self.qkv_mut(x + self.position_bias.repeat(1, 2, 1))
        query, key, value = heads_of(projected, self.heads)
        if mask is not None:
            # The mask within one frame serves for both directions. It does not hide from each other two
            # frames that only the shift brought together, from the video's two ends. The published code does
            # the same.
            mask = mask[:, :half, :half]
        at_first = attend(query[:, :, half:], key[:, :, :half], value[:, :, :half], None, mask)
        at_second = attend(query[:, :, :half], key[:, :, half:], value[:, :, half:], None, mask)
        return torch.cat((at_first, at_second), 1)


def _encode_window_positions(height: int, width: int, channels: int) -> Tensor:
    """Encodes the positions in a window's frame, counted from 1; returns (1, height · width, channels)."""
    positions = (torch.arange(1, length + 1, dtype=torch.float32) for length in (height, width))
    rows, columns = (axis / (axis[-1] + EPSILON) * (2 * math.pi) for axis in positions)
    plane = torch.meshgrid(rows, columns, indexing="ij")
    return encode_positions(plane[0], plane[1], channels, _TEMPERATURE).view(1, height * width, channels)


def _clip_window(window: Extent, extent: torch.Size) -> Extent:
    return _as_extent(tuple(min(pair) for pair in zip(extent, window, strict=True)))


def _as_extent(sizes: tuple[int, ...]) -> Extent:
    """Narrows a tuple's type to three elements."""
    t, h, w = sizes
    return t, h, w
