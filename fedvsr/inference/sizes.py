"""Chooses the sizes of windows and tiles from free memory and from what the model needs."""

import itertools
from dataclasses import dataclass

import torch
from torch import nn

from fedvsr.inference.free_memory import free_gpu_memory, free_memory
from fedvsr.inference.model_memory import ModelMemory, measure_model_memory
from fedvsr.inference.tiles import tile_spans
from fedvsr.inference.windows import RECURRENT_OVERLAP, WindowSettings
from fedvsr.models.base import contexts, size_multiple

_USABLE_SHARE = 0.5
"""The share of free memory that windows and tiles may take; decoder, encoder and other programs need some."""

_ENOUGH = 2**30
"""With more memory than this (1.1 GB), a model with finite contexts becomes hardly faster on a CPU."""

_WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16)
_RECURRENT_WINDOWS = (*_WINDOWS, 24, 32)
_TILES = (32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512, 768, 1024, 0)
_LONG = 100
"""The assumed number of frames of a video of unknown length that is upscaled at once."""

_MIN_RECURRENT_TILE = 128
"""Sides of tiles below this are for machines on which not even a window of one frame fits otherwise."""


@dataclass(frozen=True)
class Budget:
    """The memory that upscaling may use, in bytes.

    Attributes:
        host: The CPU's memory.
        device: The GPU's memory; None if the model runs on the CPU and shares ``host``.
    """

    host: int
    device: int | None = None

    @classmethod
    def free(cls, device: torch.device) -> "Budget":
        """Returns the share of the free memory that windows and tiles may take."""
        gpu = int(_USABLE_SHARE * free_gpu_memory(device)) if device.type == "cuda" else None
        return cls(int(_USABLE_SHARE * free_memory()), gpu)


def choose_sizes(
    model: nn.Module,
    device: torch.device,
    height: int,
    width: int,
    *,
    scale: int | None = None,
    window: int | None = None,
    tile: int | None = None,
    length: int | None = None,
    bytes_per_value: int = 1,
    budget: Budget | None = None,
) -> WindowSettings:
    """Chooses the sizes of windows and tiles.

    A model with finite contexts gives the same result for all sizes. It gets the window and tile that
    compute the fewest pixels twice, among those that fit. A recurrent model is better in long windows. It
    gets the longest window whose tiles can still be 128 pixels wide, and then the largest tile.

    The model's need is measured on a small input. On a CPU, windows and tiles take at most half of the free
    memory, and at most 1.1 GB for a model with finite contexts; on a GPU, half of the GPU's free memory.

    Args:
        model: A model on the device.
        device: The device for the computation.
        height: The input's height in pixels.
        width: The input's width in pixels.
        scale: The expected s of the model; None accepts any.
        window: Number of frames of a window if it is already decided, as in `WindowSettings`.
        tile: The side of a tile if it is already decided, as in `WindowSettings`.
        length: The number of frames of the video if it is known.
        bytes_per_value: 1 for uint8 frames, 2 for uint16 frames.
        budget: The memory that may be used; None finds out.

    Raises:
        fedvsr.errors.ModelError: The model's output has the wrong shape or is not finite.
    """
    if window is not None and tile is not None:
        return WindowSettings(window, tile)
    budget = budget or Budget.free(device)
    need = measure_model_memory(model, device, scale)
    temporal = contexts(model).temporal
    if temporal is not None and budget.device is None:
        budget = Budget(min(budget.host, _ENOUGH))
    windows = (window,) if window is not None else _WINDOWS if temporal is not None else _RECURRENT_WINDOWS
    tiles = (tile,) if tile is not None else tuple(side for side in _TILES if side < max(height, width))
    fitting = []
    for frames, side in itertools.product(windows, tiles):
        load = _load(model, need, (frames, length), (height, width), side, bytes_per_value)
        if load.fits(budget, need.host_share):
            fitting.append((load.repeated, frames, side))
    if not fitting:
        return WindowSettings(min(windows), min(tiles, key=_tile_order))
    if temporal is None and window is None:
        wide = [choice for choice in fitting if _tile_order(choice[2]) >= _MIN_RECURRENT_TILE]
        longest = max(frames for _, frames, _ in wide or fitting)
        fitting = [choice for choice in wide or fitting if choice[1] == longest]
    _, frames, side = min(fitting, key=lambda choice: (choice[0], -choice[1], -_tile_order(choice[2])))
    # The number of frames that the tile was chosen for, also if the video has more than it states.
    return WindowSettings(min(frames, length) if length else frames, side)


def _tile_order(side: int) -> float:
    """Returns a number that is larger for larger tiles: 0 stands for whole frames."""
    return side or float("inf")


@dataclass(frozen=True)
class _Load:
    """What one choice of sizes costs: bytes of the frames and of the largest tile, and repeated work."""

    frames: float
    tile: float
    repeated: float

    def fits(self, budget: Budget, host_share: float) -> bool:
        if budget.device is None:
            return self.frames + self.tile <= budget.host
        on_host = self.tile * host_share
        return self.frames + on_host <= budget.host and self.tile - on_host <= budget.device


def _load(
    model: nn.Module,
    need: ModelMemory,
    frames: tuple[int, int | None],
    size: tuple[int, int],
    side: int,
    bytes_per_value: int,
) -> _Load:
    """Returns the load of windows of ``frames[0]`` frames of ``frames[1]`` and tiles of a side."""
    temporal, spatial = contexts(model).temporal, contexts(model).spatial
    overlap = RECURRENT_OVERLAP if temporal is None else temporal
    length = frames[1] or _LONG
    kept = min(frames[0] or length, length)
    computed = min(kept + 2 * overlap, length)
    rows, columns = (
        [
            span.input_stop - span.input_start
            for span in tile_spans(pixels, side, WindowSettings.blend, spatial, size_multiple(model))
        ]
        for pixels in size
    )
    values = 3 * size[0] * size[1] * bytes_per_value
    return _Load(
        frames=values * (computed + kept * need.scale**2),
        tile=need.of(computed, max(rows) * max(columns)),
        repeated=computed / kept * sum(rows) * sum(columns) / (size[0] * size[1]),
    )
