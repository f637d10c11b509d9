"""The device that training computes on, and repeatable computation."""

import pytest
import torch

from fedvsr.device import repeatable, select_device
from fedvsr.errors import ConfigError


def test_the_same_seed_draws_the_same_numbers_and_another_seed_others():
    def draw(seed: int) -> torch.Tensor:
        with repeatable(seed):
            return torch.rand(5)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("fails", [False, True])
def test_the_generator_and_the_threads_are_restored(fails: bool):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        with repeatable(7, threads=threads + 1):
            assert torch.get_num_threads() == threads + 1
            torch.rand(3)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_number_of_threads_the_number_stays():
    threads = torch.get_num_threads()
    with repeatable(7):
        assert torch.get_num_threads() == threads


def test_the_cpu_is_always_available():
    assert select_device("cpu") == torch.device("cpu")
    assert select_device("auto").type in {"cpu", "cuda"}


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cuda:-1", "cuda:99", "cpu cuda"])
def test_a_missing_device_is_refused(name: str):
    with pytest.raises(ConfigError, match=r"^training\.device: .* is not allowed; "):
        select_device(name)


def test_the_error_names_the_option_that_was_set():
    with pytest.raises(ConfigError, match=r"^--device: 'gpu' is not allowed; "):
        select_device("gpu", "--device")
