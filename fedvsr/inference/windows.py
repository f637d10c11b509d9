"""Upscales a stream of frames in overlapping windows and tiles; memory does not grow with its length."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedvsr.errors import ConfigError
from fedvsr.inference.tiles import upscale_tiles
from fedvsr.models.base import contexts
from fedvsr.video.frames import Frames

_RECURRENT_OVERLAP = 8
"""Overlap of windows for a recurrent model: frames farther away have little influence."""


@dataclass(frozen=True)
class WindowSettings:
    """How a video is cut into windows and tiles.

    Attributes:
        frames: Number of frames that a window adds to the output; 0 upscales the whole video at once.
        tile: Height and width of a tile, in input pixels; 0 upscales whole frames.
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
    frames: Iterable[Frames],
    device: torch.device,
    settings: WindowSettings | None = None,
) -> Iterator[Frames]:
    """Upscales a stream of frames.

    A window or tile is computed together with the neighbouring frames and pixels that its output depends on
    (`fedvsr.models.base.contexts`), and only its inside is kept. For a model with finite contexts, the result
    is that of the whole video at once.

    Args:
        model: A model on the device.
        frames: Frames (h, w, 3), uint8 RGB, all of one size.
        device: The device for the computation.
        settings: The sizes of windows and tiles; None stands for the defaults.

    Yields:
        Frames (s·h, s·w, 3), uint8 RGB, one for each input frame.
    """
    settings = settings or WindowSettings()
    temporal = contexts(model).temporal
    overlap = _RECURRENT_OVERLAP if temporal is None else temporal
    model.eval()
    for window, first, count in _windows(frames, settings.frames, overlap):
        output = _upscale_window(model, window, device, settings)
        yield from output[first : first + count]


def upscale_clip(model: nn.Module, frames: Frames, device: torch.device) -> Frames:
    """Upscales a clip (T, h, w, 3), uint8 RGB, as a whole; returns (T, s·h, s·w, 3)."""
    return np.stack(list(upscale_frames(model, frames, device, WindowSettings(frames=0))))


def _windows(frames: Iterable[Frames], length: int, overlap: int) -> Iterator[tuple[list[Frames], int, int]]:
    """Yields windows of frames, each with the index of its first output to keep and the number to keep."""
    stream = iter(frames)
    if not length:
        window = list(stream)
        if window:
            yield window, 0, len(window)
        return
    previous: list[Frames] = []
    ahead = list(itertools.islice(stream, length + overlap))
    while ahead:
        count = min(length, len(ahead))
        yield previous + ahead, len(previous), count
        previous = (previous + ahead[:count])[-overlap:] if overlap else []
        ahead = ahead[count:]
        ahead.extend(itertools.islice(stream, length + overlap - len(ahead)))


def _upscale_window(
    model: nn.Module, window: list[Frames], device: torch.device, settings: WindowSettings
) -> Frames:
    batch = torch.from_numpy(np.stack(window)).to(device).permute(0, 3, 1, 2).float().div_(255).unsqueeze(0)
    height, width = batch.shape[-2:]
    with torch.inference_mode():
        if not settings.tile or max(height, width) <= settings.tile:
            return _to_frames(model(batch))
        return _to_frames(upscale_tiles(model, batch, settings.tile, settings.blend))


def _to_frames(output: Tensor) -> Frames:
    """Converts (1, T, 3, H, W) in about [0, 1] to (T, H, W, 3) uint8."""
    rounded = output[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    frames: Frames = rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames
