"""How much memory is free, on this machine and on a GPU, and giving back what is not used any more."""

import ctypes
import sys
from pathlib import Path, PurePosixPath

import torch

_UNKNOWN = 4 * 2**30
"""Assumed if the operating system does not say how much memory is free."""


def free_gpu_memory(device: torch.device) -> int:
    """Returns the bytes that this process can still allocate on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    # PyTorch keeps what it has released.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def give_back_memory() -> None:
    """Gives memory that was freed back to the operating system.

    The C library of Linux keeps it for later. What a model's tensors leave behind are gaps of many sizes: the
    process would grow by a gigabyte or two in its first minutes.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
        if trim is not None:
            trim(0)


def free_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the bytes that this process can still allocate without swapping.

    This is what Linux calls available, or less if a control group (a container's memory limit) leaves less.

    Args:
        proc: Where the process file system is mounted.
        cgroups: Where the control groups are mounted.
    """
    limits = [_available(proc / "meminfo"), *_left_in_groups(proc / "self/cgroup", cgroups)]
    return min((limit for limit in limits if limit is not None), default=_UNKNOWN)


def _available(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    kilobytes = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * int(number) for number in kilobytes), None)


def _left_in_groups(path: Path, cgroups: Path) -> list[int]:
    """Returns what is left in the process's control groups of version 1 and 2, and in the groups above."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            files, root = ("memory.max", "memory.current", "inactive_file"), cgroups
        elif "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = cgroups / "memory"
        else:
            continue
        # In a container the path can be the host's. Then the files are at the root, which is tried last.
        relative = PurePosixPath(group.lstrip("/"))
        for folder in (relative, *relative.parents):
            number = _left_in_group(root / folder, *files)
            if number is not None:
                left.append(number)
    return left


def _left_in_group(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Returns a control group's limit minus its usage; None if it has no limit or does not exist."""
    try:
        limit_text = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    if limit_text == "max":
        return None
    # Pages of files that were read some time ago count as used, but the kernel gives them up.
    return max(0, int(limit_text) - used + int(statistics.get(reclaimable, 0)))
