"""Keeps PyTorch's CPU threads fast beside other busy processes.

GNU OpenMP's threads wait for each other in a loop ("spinning") for about 3 ms before they sleep. On a quiet
machine that is the fastest way to wait. Beside busy processes, a waiting thread uses up the time on the CPU
that the other thread needs, and a training step takes many times as long. So a watcher measures how long this
process waits for CPUs, and lets the threads sleep almost at once while that is long. The results are the same
bytes.
"""

import ctypes
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Whoever sets one of them has chosen how threads wait.
WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

_LOOK_SECONDS = 0.25
# Seconds that threads waited for a CPU, per second of time. With 2 threads it is at most 0.05 on a quiet
# machine, and 0.3 to 1 beside 2 busy processes.
_BUSY_SHARE, _QUIET_SHARE = 0.25, 0.05
# How often in a row the machine must look quiet, 10 s in all: a wrong guess costs a few slow steps.
_QUIET_LOOKS = 40


@contextmanager
def short_waits_when_busy() -> Iterator[None]:
    """Context manager in which PyTorch's CPU threads sleep instead of spinning while the machine is busy.

    Nothing is changed if the user has set one of `WAIT_VARIABLES`, if PyTorch uses one thread or another
    OpenMP than GNU's, or if the kernel does not count waiting times. After the block the threads wait as at
    its end, so that the next block starts in the same way.
    """
    library = _loaded_libgomp()
    waited = threads_waited_seconds()
    is_set = any(name in os.environ for name in WAIT_VARIABLES)
    if is_set or library is None or waited is None or torch.get_num_threads() == 1:
        yield
        return
    ended = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(_short_waits(library), ended.wait), name="busy-machine", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


class ShortWaits:
    """Makes the threads of GNU OpenMP sleep after 100 rounds of spinning, or as long as usual.

    libgomp's manual (GOMP_SPINCOUNT): if there are more OpenMP threads than CPUs, a thread spins 100 times.
    So further threads are started, which sleep until they are not needed any more.

    Args:
        library: The file of the libgomp that PyTorch has loaded.
    """

    def __init__(self, library: Path) -> None:
        self._libgomp = ctypes.CDLL(str(library))
        self._release: threading.Event | None = None
        self._holder: threading.Thread | None = None
        self._quiet_looks = 0
        self._lock = threading.Lock()

    @property
    def are_on(self) -> bool:
        # A forked process has the object and not the thread.
        return self._holder is not None and self._holder.is_alive()

    def update(self, waited_share: float) -> None:
        """Turns short waits on or off.

        Args:
            waited_share: Seconds that threads of this process waited for a CPU, per second of time.
        """
        with self._lock:
            self._quiet_looks = self._quiet_looks + 1 if waited_share < _QUIET_SHARE else 0
            if not self.are_on and waited_share > _BUSY_SHARE:
                self._start()
            elif self._quiet_looks >= _QUIET_LOOKS:
                self.end()

    def end(self) -> None:
        """Turns short waits off."""
        if self._holder and self._release:
            self._release.set()
            self._holder.join()
        self._holder = self._release = None

    def _start(self) -> None:
        started, release = threading.Event(), threading.Event()
        # One more than there are CPUs, together with the threads of PyTorch's own pool.
        threads = max(2, len(os.sched_getaffinity(0)) - torch.get_num_threads() + 2)
        nothing = ctypes.cast(self._libgomp.omp_in_parallel, ctypes.c_void_p)

        def hold() -> None:
            # The threads of a parallel region stay, asleep, until the thread that began the region ends.
            self._libgomp.GOMP_parallel(nothing, None, ctypes.c_uint(threads), ctypes.c_uint(0))
            started.set()
            release.wait()

        self._release = release
        self._holder = threading.Thread(target=hold, name="short-waits", daemon=True)
        self._holder.start()
        started.wait()


def threads_waited_seconds() -> float | None:
    """Returns how long this process's threads have waited for a CPU; None if the kernel does not count it."""
    total = 0
    try:
        tasks = list(Path("/proc/self/task").iterdir())
    except OSError:
        return None
    for task in tasks:
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            # Another thread may have ended; the main thread's file is missing if the kernel has none.
            if task.name == str(os.getpid()):
                return None
    return total / 1e9


def _watch(short_waits: ShortWaits, wait: Callable[[float], bool]) -> None:
    """Looks at the waiting time regularly until ``wait`` returns True."""
    waited_before, time_before = threads_waited_seconds() or 0.0, time.monotonic()
    while not wait(_LOOK_SECONDS):
        waited, now = threads_waited_seconds() or 0.0, time.monotonic()
        # A thread that has ended takes its waiting time with it.
        short_waits.update(max(0.0, waited - waited_before) / (now - time_before))
        waited_before, time_before = waited, now


@functools.cache
def _short_waits(library: Path) -> ShortWaits:
    """Returns the process's only object: a block starts as the block before it ended."""
    return ShortWaits(library)


def _loaded_libgomp() -> Path | None:
    """Returns the file of the GNU OpenMP library that PyTorch brought and uses; None if there is none."""
    folder = Path(torch.__file__).parent
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    files = {Path(line.split(maxsplit=5)[5]) for line in lines if "libgomp" in line}
    return next((file for file in sorted(files) if file.is_relative_to(folder)), None)
