"""Errors about missing memory, and where compiled kernels are kept."""

import os

import pytest
import torch

from fedvsr.errors import TrainingError
from fedvsr.training.kernel_cache import keep_kernels
from fedvsr.training.memory_errors import clear_memory_errors
from tests.unit.training.toys import CPU

VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
def test_missing_memory_is_one_error_that_says_what_to_do(error):
    message = r"^ann, round 1: the memory of cpu ran out .*accumulation"
    with pytest.raises(TrainingError, match=message), clear_memory_errors("ann, round 1", CPU):
        raise error


def test_a_real_lack_of_memory_is_recognised():
    message = r"the memory of cpu ran out"
    with pytest.raises(TrainingError, match=message), clear_memory_errors("ann", CPU):
        torch.empty(1 << 50)


def test_another_error_stays():
    with pytest.raises(RuntimeError, match=r"^the shapes differ$"), clear_memory_errors("ann", CPU):
        raise RuntimeError("the shapes differ")


def test_compiled_kernels_are_kept_in_the_cache_that_outlives_a_job(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FEDVSR_CACHE", raising=False)
    keep_kernels()
    assert not any(name in os.environ for name in VARIABLES)
    monkeypatch.setenv("FEDVSR_CACHE", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    keep_kernels()
    assert [os.environ[name] for name in VARIABLES] == [
        f"{tmp_path}/compile/inductor",
        "/elsewhere",
        f"{tmp_path}/compile/cuda",
    ]
    for name in VARIABLES:
        monkeypatch.delenv(name)
