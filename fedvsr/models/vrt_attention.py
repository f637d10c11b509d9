"""The attention of VRT: every window looks at itself, and the two frames of a pair at each other.

Liang et al., "VRT: A Video Restoration Transformer", 2022, section 3.3. Modules are named so that the
published weights load. Features have their channels last here: (N, T, H, W, C).
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
    relative_position_index,
    relative_positions,
    roll,
    shift_mask,
    to_windows,
)

_EXPANSION = 2
_TEMPERATURE = 10_000


class AttentionGroup(nn.Module):
    """Transformer blocks one after the other, every other one with its windows shifted by half.

    An axis no longer than the window is looked at whole and not shifted.

    Args:
        channels: C, a multiple of 4 and of the heads.
        heads: Attention heads.
        window: The extent of a window; with mutual attention it is two frames long.
        mutual: Whether the two frames of a window look at each other as well.
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
        window = _smaller(self.window, extent)
        shift = tuple(
            0 if size <= side else moved
            for size, side, moved in zip(extent, self.window, self.shift, strict=True)
        )
        mask = None
        if any(shift) and len(self.blocks) > 1:
            padded = tuple(-(-size // side) * side for size, side in zip(extent, window, strict=True))
            mask = shift_mask(_extent(padded), window, _extent(shift), x.device)
        for number, block in enumerate(self.blocks):
            x = block(x, window, _extent(shift), mask) if number % 2 else block(x, window, (0, 0, 0), None)
        return x


class GatedMLP(nn.Module):
    """Two linear layers, the first one's output gated by a third's; Shazeer 2020, "GLU Variants".

    Args:
        inputs: Channels of the input.
        hidden: Channels in between.
        outputs: Channels of the output.
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
        channels: C, a multiple of the heads.
        heads: Attention heads.
        window: The extent of a window.
        mutual: Whether the two frames of a window look at each other as well.
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
        """Maps (N, T, H, W, C) to the same shape, through windows no larger than the block's own."""
        x = x + self.drop_path(self._attended(self.norm1(x), window, shift, mask))
        refined: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + refined

    def _attended(self, x: Tensor, window: Extent, shift: Extent, mask: Tensor | None) -> Tensor:
        _, T, H, W, _ = x.shape
        padded = pad_to_windows(x, window)
        extent = _extent(tuple(padded.shape[1:4]))
        windows = to_windows(roll(padded, (-shift[0], -shift[1], -shift[2])), window)
        whole = roll(from_windows(self.attn(windows, mask), window, extent), shift)
        return whole[:, :T, :H, :W]


class _WindowAttention(nn.Module):
    """Self-attention, and if mutual, attention between the two halves too, fused by a linear layer."""

    relative_position_index: Tensor
    position_bias: Tensor

    def __init__(self, channels: int, heads: int, window: Extent, mutual: bool) -> None:
        super().__init__()
        self.heads = heads
        self.mutual = mutual
        self.relative_position_bias_table = nn.Parameter(torch.empty(relative_positions(window), heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv_self = nn.Linear(channels, 3 * channels)
        if mutual:
            self.register_buffer("position_bias", _positions(window[1], window[2], channels))
            self.qkv_mut = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(2 * channels if mutual else channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Maps (windows, positions, C) to the same shape."""
        positions = x.shape[1]
        # Of a window of fewer frames, the positions are the first ones of the table's window.
        rows = self.relative_position_index[:positions, :positions]
        bias = self.relative_position_bias_table[rows].permute(2, 0, 1)
        attended = attend(*heads_of(self.qkv_self(x), self.heads), bias, mask)
        if self.mutual:
            attended = torch.cat((self._mutual(x, mask), attended), 2)
        y: Tensor = self.proj(attended)
        return y

    def _mutual(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Returns, for each of two frames, the attention of the other's queries to it."""
        half = x.shape[1] // 2
        projected = self.qkv_mut(x + self.position_bias.repeat(1, 2, 1))
        query, key, value = heads_of(projected, self.heads)
        if mask is not None:
            # The mask is the same for both frames, and hides no frame: as published.
            mask = mask[:, :half, :half]
        first = attend(query[:, :, half:], key[:, :, :half], value[:, :, :half], None, mask)
        second = attend(query[:, :, :half], key[:, :, half:], value[:, :, half:], None, mask)
        return torch.cat((first, second), 1)


def _positions(height: int, width: int, channels: int) -> Tensor:
    """Returns the positions in a window's frame, counted from 1, encoded: (1, height · width, channels)."""
    places = (torch.arange(1, side + 1, dtype=torch.float32) for side in (height, width))
    rows, columns = (place / (place[-1] + EPSILON) * (2 * math.pi) for place in places)
    plane = torch.meshgrid(rows, columns, indexing="ij")
    return encode_positions(plane[0], plane[1], channels, _TEMPERATURE).view(1, height * width, channels)


def _smaller(window: Extent, extent: torch.Size) -> Extent:
    return _extent(tuple(min(size, side) for size, side in zip(extent, window, strict=True)))


def _extent(sizes: tuple[int, ...]) -> Extent:
    t, h, w = sizes
    return t, h, w
