"""The batches of a client's round; the next one is read while the current one is used."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from fedvsr.config.run import TrainingConfig
from fedvsr.video.patches import PatchBatch, PatchSampler


def step_count(sampler: PatchSampler, training: TrainingConfig) -> int:
    """Returns the number of local steps of a round, as configured or computed from the number of epochs."""
    return training.local_steps or training.local_epochs * sampler.epoch_length


def batches(sampler: PatchSampler, training: TrainingConfig) -> Iterator[PatchBatch]:
    """Yields a round's batches in order; the next one is read while the current one is used."""

    def read(step: int) -> PatchBatch:
        if training.local_steps:
            return sampler.batch(step)
        return sampler.epoch_batch(*divmod(step, sampler.epoch_length))

    count = step_count(sampler, training)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
        next_batch: Future[PatchBatch] | None = reader.submit(read, 0)
        for step in range(count):
            assert next_batch is not None
            batch = next_batch.result()
            next_batch = reader.submit(read, step + 1) if step + 1 < count else None
            yield batch
