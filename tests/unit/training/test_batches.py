"""The batches of a round."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch

from fedvsr.config.run import TrainingConfig
from fedvsr.training.batches import batches, step_count
from fedvsr.training.feed import BatchFeed
from fedvsr.training.ranks import ONE_PROCESS
from fedvsr.video.patches import ClipPair, PatchBatch, PatchSampler


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


@pytest.mark.parametrize("readers", [1, 2, 7])
def test_batches_read_ahead_are_those_of_the_sampler_in_order(sampler: PatchSampler, readers: int):
    for step, batch in enumerate(batches(sampler, TrainingConfig(local_steps=4, readers=readers))):
        np.testing.assert_array_equal(batch.low_resolution, sampler.batch(step).low_resolution)
        np.testing.assert_array_equal(batch.ground_truth, sampler.batch(step).ground_truth)


def test_as_many_batches_as_there_are_readers_are_read_at_the_same_time(sampler: PatchSampler, monkeypatch):
    real, together = sampler.batch, threading.Barrier(3, timeout=60)

    def meeting(step: int):
        # Each of the first three waits until all three are being read.
        if step < 3:
            together.wait()
        return real(step)

    monkeypatch.setattr(sampler, "batch", meeting)
    assert len(list(batches(sampler, TrainingConfig(local_steps=5, readers=3)))) == 5


def test_the_time_that_training_waits_for_a_batch_is_counted(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("fedvsr.training.feed.time.perf_counter", lambda: float(next(clock)))
    batch = PatchBatch(np.zeros((1, 1, 3, 2, 2), np.float32), np.zeros((1, 1, 3, 4, 4), np.float32), ("a",))
    feed = BatchFeed([batch, batch], torch.device("cpu"), ONE_PROCESS, 1)
    while feed.take():
        feed.advance()
    # Two batches and the look for a third.
    assert feed.waiting_seconds == 3.0


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
