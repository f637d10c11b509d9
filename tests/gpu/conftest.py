"""The GPU tier: `make test-gpu` runs it. Without a CUDA device every test is skipped and says so.

FEDVSR_GPU_TESTS_DEVICE=cpu runs what needs no GPU of these tests on the CPU, to try the tests themselves.
"""

import os

import pytest
import torch

DEVICE_VARIABLE = "FEDVSR_GPU_TESTS_DEVICE"
DEVICE = torch.device(os.environ.get(DEVICE_VARIABLE, "cuda"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name != "gpu":
            continue
        item.add_marker(pytest.mark.gpu)
        if DEVICE.type == "cuda" and not torch.cuda.is_available():
            reason = "no CUDA device: PyTorch finds none on this machine; `make test-gpu` needs a GPU"
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return DEVICE


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """A CUDA device, for what a CPU cannot show."""
    if device.type != "cuda":
        pytest.skip("it needs a CUDA device")
    return device
