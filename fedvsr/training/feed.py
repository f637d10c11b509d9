"""Brings batches to the device, each one while the device still computes the step before."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedvsr.training.memory import split_batch
from fedvsr.training.ranks import Ranks
from fedvsr.video.patches import PatchBatch


@dataclass(frozen=True)
class Part:
    """Patches that go through the model together.

    Attributes:
        low_resolution: float32 (N, T, 3, h, w), on the device.
        ground_truth: float32 (N, T, 3, H, W), on the device.
        share: N divided by the number of patches of the whole batch, over all processes.
    """

    low_resolution: Tensor
    ground_truth: Tensor
    share: float


@dataclass(frozen=True)
class DeviceBatch:
    """The parts of a batch that this process has; none if it has no patch of it.

    Attributes:
        parts: The parts, in order.
        clips: The names of the clips of the whole batch.
    """

    parts: tuple[Part, ...]
    clips: tuple[str, ...]


class BatchFeed:
    """Reads batches and copies this process's share of them to the device.

    To a GPU, a batch is copied from pinned memory in a stream of its own. So the copy runs beside the step
    that was queued before, if `advance` is called when that step is queued.

    Args:
        batches: The batches.
        device: The device.
        ranks: The processes that share the batches.
        parts: The number of parts that a process's share is split into.

    Attributes:
        waiting_seconds: How long training has waited for batches so far, in seconds.
    """

    def __init__(self, batches: Iterable[PatchBatch], device: torch.device, ranks: Ranks, parts: int) -> None:
        self._batches = iter(batches)
        self._device = device
        self._ranks = ranks
        self._parts = parts
        self._stream = _new_stream(device)
        self._next: DeviceBatch | None = None
        self.waiting_seconds = 0.0
        self.advance()

    def advance(self) -> None:
        """Reads the next batch and begins to copy it."""
        start = time.perf_counter()
        batch = next(self._batches, None)
        self.waiting_seconds += time.perf_counter() - start
        self._next = None if batch is None else self._begin_copy(batch)

    def take(self) -> DeviceBatch | None:
        """Returns the batch that was read last, for kernels that are queued from now on; None at the end."""
        batch, self._next = self._next, None
        if batch and self._stream:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for part in batch.parts:
                # Their memory belongs to the other stream, which must not reuse it before this one is done.
                part.low_resolution.record_stream(current)
                part.ground_truth.record_stream(current)
        return batch

    def _begin_copy(self, batch: PatchBatch) -> DeviceBatch:
        own = self._ranks.share(batch)
        parts = tuple(
            Part(
                self._tensor(part.low_resolution),
                self._tensor(part.ground_truth),
                len(part.clips) / len(batch.clips),
            )
            for part in split_batch(own, self._parts)
        )
        return DeviceBatch(parts, batch.clips)

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self._stream is None:
            return tensor
        with torch.cuda.stream(self._stream):
            return tensor.pin_memory().to(self._device, non_blocking=True)


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
