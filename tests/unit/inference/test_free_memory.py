"""Free memory is what the operating system and every control group above the process leave."""

import ctypes
import sys
from pathlib import Path

import pytest
import torch

from fedvsr.inference.free_memory import free_gpu_memory, free_memory, give_back_memory

MEGABYTE = 2**20


@pytest.fixture
def machine(tmp_path):
    """A /proc and a /sys/fs/cgroup of a machine with 1000 MB available, without control groups."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable:  1024000 kB\nCached: 7 kB\n")
    return tmp_path


def free(machine):
    return free_memory(machine / "proc", machine / "cgroup") / MEGABYTE


def join(machine, line, **limits):
    """Puts the process into control groups: folders, each with its limit, usage and cache in MB."""
    (machine / "proc/self/cgroup").write_text(line + "\n")
    version_1 = not line.startswith("0::")
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version_1
        else ("memory.max", "memory.current", "inactive_file")
    )
    for folder, (limit, usage, cache) in limits.items():
        path = machine / "cgroup" / ("memory" if version_1 else "") / folder.strip("_")
        path.mkdir(parents=True, exist_ok=True)
        (path / names[0]).write_text(f"{limit if limit == 'max' else limit * MEGABYTE}\n")
        (path / names[1]).write_text(f"{usage * MEGABYTE}\n")
        (path / "memory.stat").write_text(f"anon 5\n{names[2]} {cache * MEGABYTE}\n")


def test_without_a_limit_it_is_what_linux_calls_available(machine):
    assert free(machine) == 1000


@pytest.mark.parametrize("line", ["0::/pod", "4:cpu,memory:/pod"])
def test_a_control_group_leaves_its_limit_minus_what_is_used_and_not_reclaimable(machine, line):
    join(machine, line, pod=(500, 300, 100))
    assert free(machine) == 300


@pytest.mark.parametrize("line", ["0::/pod/box", "4:memory:/pod/box"])
def test_the_group_above_can_leave_less(machine, line):
    join(machine, line, **{"pod/box": (900, 0, 0), "pod": (500, 450, 0)})
    assert free(machine) == 50


@pytest.mark.parametrize("line", ["0::/the/hosts/path", "4:memory:/the/hosts/path"])
def test_in_a_container_the_group_is_at_the_root(machine, line):
    join(machine, line, _=(200, 100, 0))
    assert free(machine) == 100


def test_a_group_without_limit_or_above_the_machine_changes_nothing(machine):
    join(machine, "0::/pod", pod=("max", 10, 0))
    assert free(machine) == 1000
    join(machine, "4:memory:/pod", pod=(2**43, 10, 0))
    assert free(machine) == 1000


def test_a_full_group_leaves_nothing(machine):
    join(machine, "0::/pod", pod=(100, 120, 0))
    assert free(machine) == 0


def test_a_system_that_says_nothing_counts_as_a_small_one(tmp_path):
    assert free(tmp_path) == 4096


def test_this_machine_has_some():
    assert 0 < free_memory() < 2**50


def test_what_pytorch_has_released_on_the_gpu_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert free_gpu_memory(torch.device("cuda:1")) == 1500


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the resident memory in /proc")
def test_freed_memory_is_given_back():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // MEGABYTE

    # Blocks too small to be mapped one by one, and one that stays above them.
    blocks = [b"x" * (100_000 + number) for number in range(2000)]
    last = b"x" * len(blocks[-1])
    full = resident()
    blocks.clear()
    give_back_memory()
    assert resident() < full - 150
    assert last


def test_other_systems_give_back_by_themselves(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    give_back_memory()
