"""Several processes train as one does, up to rounding: gloo on the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from fedvsr.errors import ConfigError
from fedvsr.training.feed import BatchFeed
from fedvsr.training.ranks import ONE_PROCESS, Ranks
from tests.unit.training.groups import TRAININGS, run_group, train, train_all, wait_for_a_silent_rank
from tests.unit.training.toys import CPU, make_batches

# float16 and bfloat16 round differently if a convolution gets another number of patches.
TOLERANCES = {"bfloat16": 2e-3, "float16": 5e-4}


@pytest.fixture(scope="module", params=[2, 4])
def trained(request, tmp_path_factory):
    """What the first and the last of several processes end with, by training."""
    folder = tmp_path_factory.mktemp("group")
    size = request.param
    run_group(train_all, size, folder)
    return [torch.load(folder / f"results-{rank}") for rank in (0, size - 1)]


@pytest.mark.parametrize("name", TRAININGS)
def test_several_processes_end_with_the_weights_of_one(trained, name):
    alone, first = train(name), trained[0][name]
    tolerance = TOLERANCES.get(name, 1e-6)
    assert first["losses"] == pytest.approx(alone["losses"], rel=tolerance)
    assert first["summary"] == pytest.approx(alone["summary"], rel=tolerance)
    # Adam's steps have the size of the learning rate, 1e-3. The tolerance is a hundredth of a step.
    for key in ("weights", "kept"):
        assert first[key].keys() == alone[key].keys()
        for tensor, value in alone[key].items():
            torch.testing.assert_close(
                first[key][tensor], value, rtol=0, atol=max(1e-5, tolerance / 10), msg=tensor
            )


@pytest.mark.parametrize("name", TRAININGS)
def test_all_processes_end_with_the_same_bytes(trained, name):
    first, last = (results[name] for results in trained)
    assert first["losses"] == last["losses"]
    assert all(torch.equal(value, last["weights"][key]) for key, value in first["weights"].items())


def test_the_shares_of_all_processes_are_the_batch():
    for size in (1, 2, 3, 7):
        (batch,) = make_batches(1, size)
        for processes in (1, 2, 4):
            shares = [Ranks(rank, processes).share(batch) for rank in range(processes)]
            assert sum((share.clips for share in shares), ()) == batch.clips
            joined = np.concatenate([share.low_resolution for share in shares])
            np.testing.assert_array_equal(joined, batch.low_resolution)
            counts = [len(share.clips) for share in shares]
            assert max(counts) - min(counts) <= 1


def test_the_parts_of_all_processes_weigh_as_much_as_one_batch():
    (batch,) = make_batches(1, 7)
    for processes in (1, 2, 9):
        feeds = [BatchFeed([batch], CPU, Ranks(rank, processes), parts=2) for rank in range(processes)]
        parts = [part for feed in feeds for part in feed.take().parts]
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert all(part.share == pytest.approx(len(part.ground_truth) / 7) for part in parts)


def test_a_silent_process_is_not_waited_for_forever(tmp_path):
    run_group(wait_for_a_silent_rank, 2, tmp_path)
    assert "timed out" in (tmp_path / "lost").read_text().lower()


def test_batch_statistics_are_refused_in_several_processes_only():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    ONE_PROCESS.check_model(model)
    with pytest.raises(ConfigError, match=r"training\.processes: 2 is not allowed; the model's module '1'"):
        Ranks(0, 2).check_model(model)


def test_processes_draw_different_random_numbers_and_the_first_those_of_one():
    draws = []
    for rank in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            Ranks(rank, 3).separate_random_numbers(5)
            draws.append(float(torch.rand(())))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        assert draws[0] == float(torch.rand(()))
    assert len(set(draws)) == 3
