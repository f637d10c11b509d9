"""Upscales frames in overlapping tiles that fade into each other."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fedvsr.models.base import contexts


def upscale_tiles(model: nn.Module, batch: Tensor, tile: int, blend: int) -> Tensor:
    """Upscales frames tile by tile.

    A tile covers ``tile`` × ``tile`` input pixels and extends ``blend`` pixels into its neighbours. It is
    computed from a larger area, extended by the model's spatial context (`fedvsr.models.base.contexts`),
    whose outputs are discarded. In the overlap, one tile fades into the next. If the model depends on no
    pixels beyond its contexts, both tiles are equal there. For other models, the fading hides the seam.

    Args:
        model: A model that upscales by s.
        batch: (1, T, 3, h, w) in [0, 1].
        tile: Height and width of a tile, in input pixels.
        blend: Number of input pixels that a tile extends into its neighbours.

    Returns:
        (1, T, 3, s·h, s·w) in float32 on the CPU.
    """
    context = contexts(model).spatial
    height, width = batch.shape[-2:]
    total, weights = torch.empty(0), torch.empty(0)
    scale = 0
    for (top, bottom), (left, right) in itertools.product(_spans(height, tile), _spans(width, tile)):
        # The area that the tile contributes to, and the larger area that it is computed from.
        y0, y1 = max(0, top - blend), min(height, bottom + blend)
        x0, x1 = max(0, left - blend), min(width, right + blend)
        input_top, input_left = max(0, y0 - context), max(0, x0 - context)
        part = batch[..., input_top : min(height, y1 + context), input_left : min(width, x1 + context)]
        output = model(part).float().cpu()
        if not scale:
            scale = output.shape[-1] // part.shape[-1]
            total = torch.zeros((*output.shape[:-2], height * scale, width * scale))
            weights = torch.zeros(height * scale, width * scale)
        contribution = output[
            ...,
            (y0 - input_top) * scale : (y1 - input_top) * scale,
            (x0 - input_left) * scale : (x1 - input_left) * scale,
        ]
        fade = torch.outer(
            _ramps((y1 - y0) * scale, (top - y0) * scale * 2, (y1 - bottom) * scale * 2),
            _ramps((x1 - x0) * scale, (left - x0) * scale * 2, (x1 - right) * scale * 2),
        )
        place = (..., slice(y0 * scale, y1 * scale), slice(x0 * scale, x1 * scale))
        total[place] += contribution * fade
        weights[place] += fade
    return total / weights


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + tile, length)) for start in range(0, length, tile))


def _ramps(length: int, rising: int, falling: int) -> Tensor:
    """Returns weights that rise over the first pixels, fall over the last, and are 1 in between."""
    weights = torch.ones(length)
    # Never 0, so every pixel has a positive weight even if the tiles are smaller than their overlap.
    rising, falling = min(rising, length), min(falling, length)
    weights[:rising] *= (torch.arange(rising) + 0.5) / max(rising, 1)
    weights[length - falling :] *= (torch.arange(falling).flip(0) + 0.5) / max(falling, 1)
    return weights
