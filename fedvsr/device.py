"""Selects PyTorch's device, and makes computation repeatable."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedvsr.busy_machine import short_waits_when_busy
from fedvsr.errors import ConfigError


def select_device(name: str, field: str = "training.device") -> torch.device:
    """Returns the device of that name. ``auto`` is the GPU if there is one, otherwise the CPU.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        field: The configuration field or option that names the device, for the error.

    Raises:
        fedvsr.errors.ConfigError: The device does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(field, name, "it must be auto, cpu, cuda or cuda:N") from None
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(field, name, "it must be auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(field, name, f"this machine has {count} CUDA devices; use auto or cpu")
    return device


@contextmanager
def repeatable(seed: int, threads: int = 0) -> Iterator[None]:
    """Makes PyTorch's results in the block depend only on the seed, and restores PyTorch's state afterwards.

    On a CPU, the same seed and number of threads give the same bytes. On a GPU the choice of algorithms is
    fixed. A few algorithms have no deterministic version, for example the gradient
    of grid_sample; their results may differ in the last bits.

    Args:
        seed: Seed of PyTorch's generators.
        threads: Number of CPU threads; 0 keeps the current number.
    """
    before = torch.get_num_threads()
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        if threads:
            torch.set_num_threads(threads)
        try:
            with short_waits_when_busy():
                yield
        finally:
            torch.set_num_threads(before)
            torch.backends.cudnn.benchmark = benchmark
            torch.backends.cudnn.deterministic = deterministic
