"""Measures how much memory a model needs, on a small input."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fedvsr.inference.outputs import checked_output
from fedvsr.models.base import size_multiple

_SIDE = 64
_FRAMES = (2, 6)

_UNSEEN = 1.35
"""An operator needs up to this many times the memory of the tensors that can be seen. Measured on a CPU: 1.07
for FastVSR, 1.3 for BasicVSR."""

_OUTPUT_COPIES = 3
"""The output, its faded copy and the clipped copy of that."""


@dataclass(frozen=True)
class ModelMemory:
    """The memory that a model needs to upscale a tile, in bytes.

    Attributes:
        per_pixel: For each input pixel, whatever the number of frames.
        per_frame_pixel: For each input pixel of each frame.
        host_share: The share of it that is in the CPU's memory although the model is on a GPU
            (``features_on_cpu``).
        scale: How many times larger the output's sides are than the input's.
    """

    per_pixel: float
    per_frame_pixel: float
    host_share: float
    scale: int

    def of(self, frames: int, pixels: int) -> float:
        """Returns the bytes for a tile of that many frames, and pixels of each."""
        return pixels * (self.per_pixel + frames * self.per_frame_pixel)


def measure_model_memory(model: nn.Module, device: torch.device, scale: int | None = None) -> ModelMemory:
    """Upscales two short clips of small grey frames, and measures the tensors that exist at a time.

    Args:
        model: A model on the device; it is set to evaluation mode.
        device: The device for the computation.
        scale: The expected s of the model; None accepts any.

    Raises:
        fedvsr.errors.ModelError: The output has the wrong shape or is not finite.
    """
    multiple = size_multiple(model)
    side = -(-_SIDE // multiple) * multiple
    model.eval()
    peaks = []
    for frames in _FRAMES:
        with torch.inference_mode(), _LiveTensors() as live:
            batch = torch.full((1, frames, 3, side, side), 0.5, device=device)
            output = checked_output(model, batch, scale)
            live.count(output.device.type, (_OUTPUT_COPIES - 1) * output.nbytes)
        peaks.append({kind: _UNSEEN * peak / side**2 for kind, peak in live.peaks.items()})
    totals = [sum(peak.values()) for peak in peaks]
    per_frame_pixel = max(0.0, (totals[1] - totals[0]) / (_FRAMES[1] - _FRAMES[0]))
    return ModelMemory(
        per_pixel=max(0.0, totals[0] - _FRAMES[0] * per_frame_pixel),
        per_frame_pixel=per_frame_pixel,
        host_share=0.0 if device.type == "cpu" else peaks[1].get("cpu", 0.0) / totals[1],
        scale=output.shape[-1] // side,
    )


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operators have returned and that still exist.

    Attributes:
        peaks: The most bytes at a time, by the type of device.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peaks: dict[str, int] = {}
        self._live: dict[str, int] = {}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here. To say so, PyTorch would import its compiler, which takes seconds.
        return False

    def count(self, kind: str, size: int) -> None:
        """Adds a number of bytes, negative ones if they are released."""
        self._live[kind] = self._live.get(kind, 0) + size
        self.peaks[kind] = max(self.peaks.get(kind, 0), self._live[kind])

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in _pytree.tree_leaves(result):
            if isinstance(value, Tensor):
                self._follow(value)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage, kind = tensor.untyped_storage(), tensor.device.type
        key, size = id(storage), storage.nbytes()
        if key in self._references:
            return

        def release(_: object) -> None:
            del self._references[key]
            self.count(kind, -size)

        self._references[key] = weakref.ref(storage, release)
        self.count(kind, size)
