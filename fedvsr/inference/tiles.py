"""Upscales frames in overlapping tiles that fade into each other; only one tile is in floating point."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedvsr.inference.free_memory import give_back_memory
from fedvsr.inference.outputs import checked_output
from fedvsr.models.base import contexts, size_multiple
from fedvsr.video.frames import AnyFrames, FramesT


@dataclass(frozen=True)
class Span:
    """One side of a tile, in input pixels.

    Attributes:
        start: The first pixel that the tile contributes to.
        stop: The pixel after the last one that it contributes to.
        input_start: The first pixel that the tile is computed from.
        input_stop: The pixel after the last one that it is computed from.
        rising: Number of pixels from ``start`` on over which the tile fades in.
        falling: Number of pixels before ``stop`` over which the tile fades out.
    """

    start: int
    stop: int
    input_start: int
    input_stop: int
    rising: int
    falling: int


def tile_spans(length: int, tile: int, blend: int, context: int, multiple: int) -> list[Span]:
    """Cuts a side of a frame into the sides of tiles.

    The tiles are equally long, up to one pixel. Where two tiles overlap, one fades out while the other fades
    in. No pixel belongs to more than two tiles, so the overlap is shorter than ``blend`` asks for if the
    tiles are shorter than twice ``blend``.

    Args:
        length: The frame's height or width, at least 1.
        tile: The largest side of a tile without its overlaps; 0 for the whole frame.
        blend: Number of pixels that a tile extends into its neighbours.
        context: Number of pixels beyond these that a tile is computed from.
        multiple: The ends of what a tile is computed from are multiples of this. The last one can lie beyond
            the frame.
    """
    count = -(-length // tile) if tile else 1
    borders = [index * length // count for index in range(count + 1)]
    blend = min(blend, length // count // 2)
    spans = []
    for border, next_border in itertools.pairwise(borders):
        start, stop = max(0, border - blend), min(length, next_border + blend)
        spans.append(
            Span(
                start=start,
                stop=stop,
                input_start=max(0, start - context) // multiple * multiple,
                input_stop=-(-min(length, stop + context) // multiple) * multiple,
                rising=2 * (border - start),
                falling=2 * (stop - next_border),
            )
        )
    return spans


def upscale_tiles(
    model: nn.Module,
    frames: Sequence[FramesT],
    kept: slice,
    device: torch.device,
    tile: int,
    blend: int,
    scale: int | None = None,
) -> list[FramesT]:
    """Upscales frames tile by tile.

    A tile extends ``blend`` pixels into its neighbours. It is computed from a larger area, extended by the
    model's spatial context (`fedvsr.models.base.contexts`), whose outputs are discarded. In the overlap, one
    tile fades into the next. If the model depends on no pixels beyond its contexts, both tiles are equal
    there. For other models, the fading hides the seam.

    If the model needs sizes that are multiples of a number (`fedvsr.models.base.size_multiple`), the frames
    are mirrored at the bottom and right, and the output is cropped.

    The whole output exists only as integers. In floating point there are one tile, and the overlaps that wait
    for their neighbours.

    Args:
        model: A model that upscales by s, on the device.
        frames: T frames (h, w, 3), uint8 or uint16 RGB.
        kept: The frames to return.
        device: The device for the computation.
        tile: Largest height and width of a tile, in input pixels; 0 upscales whole frames.
        blend: Number of input pixels that a tile extends into its neighbours.
        scale: The expected s; None accepts any.

    Returns:
        The frames that ``kept`` selects, (s·h, s·w, 3), of the input's dtype.

    Raises:
        fedvsr.errors.ModelError: The output has the wrong shape or is not finite.
    """
    height, width = frames[0].shape[:2]
    context, multiple = contexts(model).spatial, size_multiple(model)
    frames = [_padded(frame, multiple) for frame in frames]
    columns = tile_spans(width, tile, blend, context, multiple)
    outputs: list[FramesT] = []
    above: list[Tensor] = []
    for row in tile_spans(height, tile, blend, context, multiple):
        below: list[Tensor] = []
        left: Tensor | None = None
        for index, column in enumerate(columns):
            batch = _to_batch(
                [
                    frame[row.input_start : row.input_stop, column.input_start : column.input_stop]
                    for frame in frames
                ],
                device,
            )
            output = checked_output(model, batch, scale)
            s = output.shape[-1] // batch.shape[-1]
            block = output[0, kept, :, _inside(row, s), _inside(column, s)].float()
            del output, batch
            block = _faded(_faded(block, column, s, -1), row, s, -2)
            # The block receives the fading ends of its neighbours and passes its own on. What remains is
            # final.
            left_end = column.rising * s
            if left is not None:
                block[..., :left_end] += left
            block, left = _split(block, column.falling * s, -1)
            if above:
                block[..., : row.rising * s, :] += above[index]
            block, rest = _split(block, row.falling * s, -2)
            below.append(rest)
            pixels = _to_pixels(block, frames[0].dtype)
            outputs = outputs or [
                cast("FramesT", np.empty((height * s, width * s, 3), frames[0].dtype)) for _ in pixels
            ]
            top, first = row.start * s, column.start * s
            for target, part in zip(outputs, pixels, strict=True):
                target[top : top + part.shape[0], first : first + part.shape[1]] = part
        above = below
        give_back_memory()
    return outputs


def _padded(frame: FramesT, multiple: int) -> FramesT:
    """Mirrors a frame at the bottom and right until its sides are multiples of a number."""
    missing = [-side % multiple for side in frame.shape[:2]]
    if not any(missing):
        return frame
    return cast("FramesT", np.pad(frame, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect"))


def _to_batch(parts: Sequence[AnyFrames], device: torch.device) -> Tensor:
    """Converts T frames (h, w, 3) to (1, T, 3, h, w) in [0, 1], float32."""
    stacked: NDArray[np.integer] = np.stack(parts)
    limit = np.iinfo(stacked.dtype).max
    if stacked.dtype != np.uint8:
        stacked = stacked.astype(np.int32)  # PyTorch supports little of uint16
    batch = torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float()
    return batch.div_(limit).unsqueeze(0)


def _to_pixels(block: Tensor, dtype: "np.dtype[Any]") -> AnyFrames:
    """Converts (T, 3, H, W) in about [0, 1] to (T, H, W, 3) integers."""
    rounded = block.clamp(0, 1).mul_(np.iinfo(dtype).max).round_()
    integers = rounded.to(torch.uint8 if dtype == np.uint8 else torch.int32)
    pixels: AnyFrames = integers.permute(0, 2, 3, 1).cpu().numpy().astype(dtype, copy=False)
    return pixels


def _inside(span: Span, scale: int) -> slice:
    """Returns the output pixels that a tile contributes to, counted from the tile's own first output."""
    return slice((span.start - span.input_start) * scale, (span.stop - span.input_start) * scale)


def _faded(block: Tensor, span: Span, scale: int, axis: int) -> Tensor:
    """Multiplies the ends of an axis by ramps; those of two neighbours add up to 1."""
    rising, falling = span.rising * scale, span.falling * scale
    if not rising and not falling:
        return block
    weights = torch.ones(block.shape[axis], device=block.device)
    weights[:rising] = (torch.arange(rising, device=block.device) + 0.5) / max(rising, 1)
    weights[len(weights) - falling :] = (
        (torch.arange(falling, device=block.device) + 0.5) / max(falling, 1)
    ).flip(0)
    return block * (weights if axis == -1 else weights.unsqueeze(-1))


def _split(block: Tensor, length: int, axis: int) -> tuple[Tensor, Tensor]:
    """Splits off the last pixels of an axis, as a copy that does not keep the block in memory."""
    size = block.shape[axis]
    return block.narrow(axis, 0, size - length), block.narrow(axis, size - length, length).clone()
