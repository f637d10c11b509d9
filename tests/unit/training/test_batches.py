"""The batches of a round."""

import threading
from collections import Counter

import numpy as np
import pytest

from fedvsr.config.run import TrainingConfig
from fedvsr.training.batches import batches, step_count
from fedvsr.video.patches import ClipPair, PatchSampler


@pytest.fixture
def sampler(make_clip) -> PatchSampler:
    pairs = [
        ClipPair(f"clip-{index}", clip, clip[:, ::2, ::2], 2)
        for index, clip in enumerate(make_clip(seed) for seed in range(5))
    ]
    return PatchSampler(pairs, frames=3, patch_size=16, batch_size=2, seed=3)


@pytest.mark.parametrize(("settings", "steps"), [({"local_epochs": 1}, 3), ({"local_epochs": 2}, 6)])
def test_an_epoch_shows_every_clip_once(sampler: PatchSampler, settings, steps: int):
    training = TrainingConfig(**settings)
    round_batches = list(batches(sampler, training))
    assert len(round_batches) == steps == step_count(sampler, training)
    seen = Counter(name for batch in round_batches for name in batch.clips)
    assert seen == {f"clip-{index}": settings["local_epochs"] for index in range(5)}


def test_an_epoch_of_frames_shows_every_clip_as_often_as_it_has_frames(sampler: PatchSampler):
    sampler = PatchSampler(sampler.pairs, frames=3, patch_size=16, batch_size=2, seed=3, epoch="frames")
    lengths = {pair.name: pair.low_resolution.shape[0] for pair in sampler.pairs}
    round_batches = list(batches(sampler, TrainingConfig(local_epochs=2)))
    assert len(round_batches) == 2 * -(-sum(lengths.values()) // 2)
    seen = Counter(name for batch in round_batches for name in batch.clips)
    assert seen == {name: 2 * length for name, length in lengths.items()}


def test_local_steps_override_local_epochs(sampler: PatchSampler):
    training = TrainingConfig(local_steps=7, local_epochs=100)
    assert step_count(sampler, training) == 7
    assert len(list(batches(sampler, training))) == 7


def test_batches_read_ahead_are_those_of_the_sampler_in_order(sampler: PatchSampler):
    for step, batch in enumerate(batches(sampler, TrainingConfig(local_steps=4))):
        np.testing.assert_array_equal(batch.low_resolution, sampler.batch(step).low_resolution)
        np.testing.assert_array_equal(batch.ground_truth, sampler.batch(step).ground_truth)


def test_a_batch_that_cannot_be_read_raises_when_it_is_used(sampler: PatchSampler, monkeypatch):
    real = sampler.batch

    def failing(step: int):
        if step == 2:
            raise OSError("the disk is gone")
        return real(step)

    monkeypatch.setattr(sampler, "batch", failing)
    reading = batches(sampler, TrainingConfig(local_steps=4))
    next(reading)
    next(reading)
    with pytest.raises(OSError, match=r"the disk is gone"):
        next(reading)


def test_training_that_stops_early_stops_the_reader(sampler: PatchSampler):
    reading = batches(sampler, TrainingConfig(local_steps=4))
    next(reading)
    reading.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
