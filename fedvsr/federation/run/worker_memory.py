"""How many workers the memory allows: measured at the first task, not guessed."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from fedvsr.inference.free_memory import free_memory

_SHARE = 0.8
"""The share of the free memory that workers may take; the rest is for the aggregation and other programs."""

_CUDA_CONTEXT = 512 * 2**20
"""What a process takes of a GPU besides its tensors, in bytes."""

_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class MemoryUse:
    """What a worker takes.

    Attributes:
        peak: The most bytes that the current task has taken of this machine's memory.
        held: The bytes that it takes now.
        on_gpu: How many such workers the GPU has room for; None if no GPU is used.
    """

    peak: int
    held: int
    on_gpu: int | None


def begin_measuring() -> None:
    """Forgets the peaks of earlier tasks of this process."""
    # Not allowed in some containers. Then the peak is that of the process, which is not less.
    with suppress(OSError):
        _CLEAR_PEAK.write_text("5")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


def memory_use() -> MemoryUse:
    """Returns what this process takes. Mapped files do not count: the system takes their memory back."""
    sizes = {}
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name in {"VmHWM", "VmRSS", "RssFile"}:
            sizes[name] = 1024 * int(value.split()[0])
    files = sizes.get("RssFile", 0)
    return MemoryUse(sizes["VmHWM"] - files, sizes["VmRSS"] - files, _room_on_gpu())


def _room_on_gpu() -> int | None:
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    free, _ = torch.cuda.mem_get_info()
    own = torch.cuda.max_memory_reserved() + _CUDA_CONTEXT
    return 1 + int(_SHARE * free / own)


class MemoryLimit:
    """How many workers may be there at once, for one kind of task.

    Until a task has shown what it takes, only one worker may be there.
    """

    def __init__(self) -> None:
        self.peak = 0
        self.budget = 0
        self._on_gpu: int | None = None

    def measure_free(self, held: int) -> None:
        """Measures the free memory. No worker has a task.

        Args:
            held: The bytes that the waiting workers hold.
        """
        self.budget = int(_SHARE * (free_memory() + held))

    def learn(self, use: MemoryUse) -> None:
        """Takes what a task has taken into account."""
        if self._on_gpu is None:
            # The first task was alone on the GPU, so all the rest was free.
            self._on_gpu = use.on_gpu
        self.peak = max(self.peak, use.peak)

    @property
    def workers(self) -> int:
        """The number of workers; at least 1."""
        if not self.peak:
            return 1
        count = self.budget // self.peak
        return max(1, count if self._on_gpu is None else min(count, self._on_gpu))
