"""The batches of a client's round, read in threads while the step before is computed."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from fedvsr.config.run import TrainingConfig
from fedvsr.video.patches import PatchBatch, PatchSampler


def step_count(sampler: PatchSampler, training: TrainingConfig) -> int:
    """Returns the number of local steps of a round, as configured or computed from the number of epochs."""
    return training.local_steps or training.local_epochs * sampler.epoch_length


def batches(sampler: PatchSampler, training: TrainingConfig) -> Iterator[PatchBatch]:
    """Yields a round's batches in order, and reads as many ahead as there are ``training.readers``.

    A batch depends only on its step, so the number of readers changes nothing in it.
    """

    def read(step: int) -> PatchBatch:
        if training.local_steps:
            return sampler.batch(step)
        return sampler.epoch_batch(*divmod(step, sampler.epoch_length))

    steps = iter(range(step_count(sampler, training)))
    with ThreadPoolExecutor(training.readers, thread_name_prefix="batches") as readers:
        pending = deque(readers.submit(read, step) for step in islice(steps, training.readers))
        while pending:
            batch = pending.popleft().result()
            pending.extend(readers.submit(read, step) for step in islice(steps, 1))
            yield batch
