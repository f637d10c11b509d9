"""PyTorch's threads wait shortly while the machine is busy, and as long as usual otherwise."""

import os
import subprocess
import sys

import pytest
import torch

from fedvsr import busy_machine
from fedvsr.busy_machine import WAIT_VARIABLES, ShortWaits, short_waits_when_busy

BUSY, BETWEEN, QUIET = 1.0, 0.1, 0.0
LIBRARY = busy_machine._loaded_libgomp()
needs_libgomp = pytest.mark.skipif(LIBRARY is None, reason="PyTorch uses another OpenMP than GNU's")


@pytest.fixture
def short_waits():
    waits = ShortWaits(LIBRARY)
    yield waits
    waits.end()


def watchers(threads: int) -> list[str]:
    """Returns the names of the watching threads while the block runs with that many of PyTorch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with short_waits_when_busy():
            return [thread.name for thread in busy_machine.threading.enumerate() if "busy" in thread.name]
    finally:
        torch.set_num_threads(before)


@needs_libgomp
def test_short_waits_begin_when_the_process_waits_for_cpus(short_waits):
    short_waits.update(QUIET)
    assert not short_waits.are_on
    short_waits.update(BETWEEN)
    assert not short_waits.are_on
    short_waits.update(BUSY)
    assert short_waits.are_on


@needs_libgomp
def test_short_waits_end_only_after_the_machine_was_quiet_for_a_while(short_waits):
    short_waits.update(BUSY)
    for share in [QUIET] * 39 + [BETWEEN] + [QUIET] * 39:
        short_waits.update(share)
        assert short_waits.are_on
    short_waits.update(QUIET)
    assert not short_waits.are_on


@needs_libgomp
def test_results_are_the_same_bytes_while_short_waits_are_on(short_waits):
    torch.manual_seed(0)
    frames, weight = torch.rand(2, 16, 64, 64), torch.rand(16, 16, 3, 3)

    def compute() -> torch.Tensor:
        return torch.nn.functional.conv2d(frames, weight).relu().sum(dim=(0, 2, 3))

    expected = compute()
    short_waits.update(BUSY)
    assert torch.equal(compute(), expected)
    short_waits.end()
    assert torch.equal(compute(), expected)


@needs_libgomp
def test_the_machine_is_watched_in_the_block_alone(monkeypatch):
    for name in WAIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert watchers(threads=2) == ["busy-machine"]
    assert "busy-machine" not in [thread.name for thread in busy_machine.threading.enumerate()]


def test_one_thread_waits_for_no_other(monkeypatch):
    for name in WAIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert watchers(threads=1) == []


@pytest.mark.parametrize("name", WAIT_VARIABLES)
def test_the_users_own_setting_is_kept(monkeypatch, name):
    monkeypatch.setenv(name, "")
    assert watchers(threads=2) == []


def test_a_kernel_that_does_not_count_waiting_times_changes_nothing(monkeypatch):
    monkeypatch.setattr(busy_machine, "threads_waited_seconds", lambda: None)
    assert watchers(threads=2) == []


@needs_libgomp
def test_more_openmp_threads_than_cpus_exist_while_short_waits_are_on():
    # In a process of its own, in which no other test has started threads.
    program = """
import os, torch
from fedvsr.busy_machine import ShortWaits, _loaded_libgomp
torch.set_num_threads(2)
torch.rand(1 << 20).add_(1)
waits, before = ShortWaits(_loaded_libgomp()), len(os.listdir("/proc/self/task"))
waits.update(1.0)
print(len(os.listdir("/proc/self/task")) - before)
"""
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    # The thread that holds them, and those of its parallel region.
    further = max(2, len(os.sched_getaffinity(0)) - 2 + 2)
    assert int(output) == further
