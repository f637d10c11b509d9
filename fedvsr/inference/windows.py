"""Upscales a stream of frames in overlapping windows and tiles; memory does not grow with its length."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedvsr.errors import ConfigError
from fedvsr.inference.tiles import upscale_tiles
from fedvsr.models.base import contexts
from fedvsr.video.frames import Frames, FramesT

RECURRENT_OVERLAP = 8
"""Overlap of windows for a recurrent model: frames farther away have little influence."""


@dataclass(frozen=True)
class WindowSettings:
    """How a video is cut into windows and tiles.

    Attributes:
        frames: Number of frames that a window adds to the output; 0 upscales the whole video at once.
        tile: Largest height and width of a tile, in input pixels; 0 upscales whole frames.
        blend: Number of input pixels over which a tile fades into its neighbours, on either side.

    Raises:
        fedvsr.errors.ConfigError: A value is negative.
    """

    frames: int = 16
    tile: int = 0
    blend: int = 8

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise ConfigError("window", self.frames, "it must be at least 0")
        if self.tile < 0:
            raise ConfigError("tile", self.tile, "it must be at least 0")
        if self.blend < 0:
            raise ConfigError("blend", self.blend, "it must be at least 0")


def upscale_frames(
    model: nn.Module,
    frames: Iterable[FramesT],
    device: torch.device,
    settings: WindowSettings | None = None,
    *,
    scale: int | None = None,
    first: int = 0,
) -> Iterator[FramesT]:
    """Upscales a stream of frames.

    A window or tile is computed together with the neighbouring frames and pixels that its output depends on
    (`fedvsr.models.base.contexts`), and only its inside is kept. For a model with finite contexts, the result
    is that of the whole video at once.

    Args:
        model: A model on the device.
        frames: Frames (h, w, 3), uint8 or uint16 RGB, all of one size and dtype.
        device: The device for the computation.
        settings: The sizes of windows and tiles; None stands for the defaults.
        scale: The expected s; None accepts any.
        first: The first frame to yield, counted from 0. The windows stay where they are, so its pixels do
            not depend on this number; windows that end before it are not computed.

    Yields:
        Frames (s·h, s·w, 3) of the input's dtype, one for each input frame from ``first`` on.

    Raises:
        fedvsr.errors.ModelError: The model's output has the wrong shape or is not finite.
    """
    settings = settings or WindowSettings()
    temporal = contexts(model).temporal
    overlap = RECURRENT_OVERLAP if temporal is None else temporal
    model.eval()
    for window, kept in _windows(frames, settings.frames, overlap, first):
        with torch.inference_mode():
            output = upscale_tiles(model, window, kept, device, settings.tile, settings.blend, scale)
        # A frame is released as soon as its consumer has done with it.
        output.reverse()
        while output:
            yield output.pop()


def upscale_clip(
    model: nn.Module, frames: Frames, device: torch.device, *, scale: int | None = None
) -> Frames:
    """Upscales a clip (T, h, w, 3), uint8 RGB, as a whole; returns (T, s·h, s·w, 3).

    Raises:
        fedvsr.errors.ModelError: The model's output is not finite, or not s times as large. A ``scale`` of
            None accepts any s.
    """
    settings = WindowSettings(frames=0)
    return np.stack(list(upscale_frames(model, iter(frames), device, settings, scale=scale)))


def _windows(
    frames: Iterable[FramesT], length: int, overlap: int, first: int
) -> Iterator[tuple[list[FramesT], slice]]:
    """Yields windows of frames, each with the outputs to keep; nothing before frame ``first`` is kept."""
    stream = iter(frames)
    if not length:
        window = list(stream)
        if len(window) > first:
            yield window, slice(first, len(window))
        return
    start = 0
    previous: list[FramesT] = []
    ahead = list(itertools.islice(stream, length + overlap))
    while ahead:
        count = min(length, len(ahead))
        skipped = max(0, first - start)
        if skipped < count:
            yield previous + ahead, slice(len(previous) + skipped, len(previous) + count)
        previous = (previous + ahead[:count])[-overlap:] if overlap else []
        ahead = ahead[count:]
        ahead.extend(itertools.islice(stream, length + overlap - len(ahead)))
        start += count
