"""Windows of frames, rows and columns of a video's features, and attention within them.

Source: Liu et al., "Video Swin Transformer", CVPR 2022, https://arxiv.org/abs/2106.13230. In this file
features have their channels last: (N, T, H, W, C), T frames. VRT, RVRT and IART use these windows.
"""

import torch
from torch import Tensor
from torch.nn import functional

Extent = tuple[int, int, int]
"""Frames, rows and columns."""

_HIDDEN = -100.0
"""Added to a similarity before the softmax, it makes the weight practically zero."""


def to_windows(x: Tensor, window: Extent) -> Tensor:
    """Cuts features into windows.

    Args:
        x: (N, T, H, W, C); T, H and W are multiples of the window's.
        window: Size (t, h, w) of a window.

    Returns:
        (N · windows, t·h·w, C), a video's windows in the order of frames, rows and columns.
    """
    N, T, H, W, C = x.shape
    t, h, w = window
    x = x.reshape(N, T // t, t, H // h, h, W // w, w, C)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, t * h * w, C)


def from_windows(windows: Tensor, window: Extent, extent: Extent) -> Tensor:
    """Joins windows: the inverse of `to_windows`.

    Args:
        windows: (N · windows, t·h·w, C).
        window: Size (t, h, w) of a window.
        extent: Size (T, H, W) of the whole.

    Returns:
        (N, T, H, W, C).
    """
    T, H, W = extent
    t, h, w = window
    x = windows.reshape(-1, T // t, H // h, W // w, t, h, w, windows.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, T, H, W, windows.shape[-1])


def pad_to_windows(x: Tensor, window: Extent) -> Tensor:
    """Appends zeros to (N, T, H, W, C) until T, H and W are multiples of the window's."""
    missing = [-size % side for size, side in zip(x.shape[1:4], window, strict=True)]
    if not any(missing):
        return x
    return functional.pad(x, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))


def roll(x: Tensor, shift: Extent) -> Tensor:
    """Shifts (N, T, H, W, C) cyclically towards the end; without a shift, returns the same tensor."""
    return torch.roll(x, shift, (1, 2, 3)) if any(shift) else x


def shift_mask(extent: Extent, window: Extent, shift: Extent, device: torch.device) -> Tensor:
    """Returns a mask that hides from each other positions that only a cyclic shift brought together.

    Args:
        extent: Size (T, H, W) of the features, multiples of the window's.
        window: Size (t, h, w) of a window.
        shift: How far the features were shifted towards the start; an axis with shift 0 hides nothing.
        device: The device of the mask.

    Returns:
        (windows, t·h·w, t·h·w): 0 if two positions may attend to each other, otherwise −100.
    """
    regions = torch.zeros(1, *extent, 1, device=device)
    for axis, (length, window_length, shift_length) in enumerate(zip(extent, window, shift, strict=True)):
        # In the last window, the part after the last boundary was shifted there from the start.
        region_number = torch.zeros(length, device=device)
        if shift_length:
            region_number[length - window_length :] = 1
            region_number[length - shift_length :] = 2
        shape = [1] * 5
        shape[axis + 1] = length
        regions = 3 * regions + region_number.view(shape)
    region = to_windows(regions, window).squeeze(-1)
    return torch.where(region[:, None] == region[:, :, None], 0.0, _HIDDEN)


def relative_position_index(window: Extent) -> Tensor:
    """Returns, for each pair of a window's positions, its row in a table of relative positions.

    The table has one row for every possible difference (frames, rows, columns), the most negative first:
    (2·t − 1)·(2·h − 1)·(2·w − 1) rows.

    Args:
        window: Size (t, h, w) of a window.

    Returns:
        (t·h·w, t·h·w), int64.
    """
    axes = torch.meshgrid(*(torch.arange(side) for side in window), indexing="ij")
    index = torch.zeros(axes[0].numel(), axes[0].numel(), dtype=torch.int64)
    for axis, side in zip(axes, window, strict=True):
        position = axis.flatten()
        index = index * (2 * side - 1) + (position[:, None] - position + side - 1)
    return index


def relative_position_count(window: Extent) -> int:
    """Returns the number of rows of the table for `relative_position_index`."""
    t, h, w = window
    return (2 * t - 1) * (2 * h - 1) * (2 * w - 1)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Applies attention within each window.

    Args:
        query: (N · windows, heads, positions, channels of a head).
        key: Of the same shape.
        value: Of the same shape.
        bias: (heads, positions, positions), added to the similarities.
        mask: (windows, positions, positions), a result of `shift_mask`; also added.

    Returns:
        (N · windows, positions, channels): the heads' channels one after the other.
    """
    B, heads, positions, width = query.shape
    similarity = (query * width**-0.5) @ key.transpose(-2, -1)
    if bias is not None:
        similarity = similarity + bias
    if mask is not None:
        windowed = similarity.view(-1, mask.shape[0], heads, positions, positions)
        similarity = (windowed + mask[:, None].to(similarity.dtype)).view(B, heads, positions, positions)
    attended: Tensor = similarity.softmax(-1) @ value
    return attended.transpose(1, 2).reshape(B, positions, heads * width)


def heads_of(x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Splits a projection's channels into query, key and value, and each of them into heads.

    Args:
        x: (windows, positions, 3 · C).
        heads: Number of heads, which share the C channels.

    Returns:
        Three tensors (windows, heads, positions, C / heads).
    """
    B, positions, _ = x.shape
    query, key, value = x.view(B, positions, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return query, key, value
