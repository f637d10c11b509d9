"""The processes that train one client's model together, each on its share of every batch.

Gradients are added up explicitly, in a few large all-reduces after the backward pass, and not by
DistributedDataParallel, which does not fit this training:

- it fixes at the start which parameters get gradients; here parameters are frozen and unfrozen by step;
- it averages over processes; here a process counts by its share of the batch, and may have no patch at all;
- it starts to add up in the first backward pass; here a batch may take several (``training.accumulation``);
- it hides the sum in the backward pass, which takes seconds here, while the sum takes milliseconds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import numpy as np
import torch
from torch import Tensor, distributed, nn

from fedvsr.errors import ConfigError
from fedvsr.training.memory import select_patches
from fedvsr.video.patches import PatchBatch

_BUCKET_ELEMENTS: Final = 8 * 2**20
"""Gradients are added up in parts of about this size: large enough for the speed, small for the memory."""

MAX_WAIT: Final = timedelta(minutes=30)
"""How long a process waits for the others. One that ended is noticed at once; this is for one that hangs."""


class LostRankError(Exception):
    """Another process of the group has ended or did not answer in time; that process has the reason."""


class Ranks:
    """The place of this process among those that train together; one process alone exchanges nothing.

    Args:
        rank: The number of this process, from 0.
        size: The number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    def share(self, batch: PatchBatch) -> PatchBatch:
        """Returns this process's patches of a batch: neighbours, in order. There may be none."""
        if self.size == 1:
            return batch
        return select_patches(batch, np.array_split(np.arange(len(batch.clips)), self.size)[self.rank])

    def check_model(self, model: nn.Module) -> None:
        """Checks that a model's result for a patch does not depend on the rest of the batch.

        Raises:
            fedvsr.errors.ConfigError: A module has batch statistics, which would be those of a share.
        """
        for name, module in model.named_modules():
            if self.size > 1 and getattr(module, "running_mean", None) is not None:
                raise ConfigError(
                    "training.processes",
                    self.size,
                    f"the model's module {name!r} has batch statistics, which several processes would "
                    "compute from parts of a batch; it must be 1",
                )

    def separate_random_numbers(self, seed: int) -> None:
        """Makes this process draw other random numbers than the first one, which draws those of one process.

        Otherwise, stochastic depth would leave out the same blocks in every process.
        """
        if self.rank:
            torch.manual_seed(seed + self.rank)

    def sum(self, value: Tensor) -> Tensor:
        """Returns the sum of a tensor over all processes. Its shape and dtype are the same in all of them."""
        if self.size > 1:
            value = value.clone()
            _call(lambda: distributed.all_reduce(value))
        return value

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over all processes.

        A process without a gradient counts as zero. A parameter without a gradient in any process keeps
        none, so that the optimiser leaves it alone.

        Args:
            parameters: The parameters, in the same order in every process.
        """
        if self.size == 1:
            return
        # On the CPU, so that the GPU's queue is not waited for.
        has_gradient = torch.tensor([parameter.grad is not None for parameter in parameters]).byte()
        _call(lambda: distributed.all_reduce(has_gradient, distributed.ReduceOp.MAX))
        trained = [parameter for parameter, has in zip(parameters, has_gradient.tolist(), strict=True) if has]
        for bucket in _buckets(trained):
            _sum_bucket(bucket)


ONE_PROCESS: Final = Ranks()


@contextmanager
def joined(rank: int, size: int, backend: str, max_wait: timedelta = MAX_WAIT) -> Iterator[Ranks]:
    """Joins the group of processes that torchrun has started.

    Args:
        rank: The number of this process.
        size: The number of processes.
        backend: PyTorch's name of the backend, such as ``gloo``.
        max_wait: How long to wait for the others.
    """
    _call(lambda: distributed.init_process_group(backend, timeout=max_wait, rank=rank, world_size=size))
    yield Ranks(rank, size)
    # No process leaves while another one still needs it. One that failed just ends: it waits for none.
    _call(distributed.barrier)
    distributed.destroy_process_group()


def _call(collective: Callable[[], object]) -> None:
    try:
        collective()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRankError(str(error)) from error


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yields neighbouring parameters of one dtype whose gradients are added up together."""
    bucket: list[nn.Parameter] = []
    elements = 0
    for parameter in parameters:
        is_full = elements + parameter.numel() > _BUCKET_ELEMENTS
        if bucket and (is_full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, elements = [], 0
        bucket.append(parameter)
        elements += parameter.numel()
    if bucket:
        yield bucket


def _sum_bucket(parameters: list[nn.Parameter]) -> None:
    flat = torch.cat(
        [
            (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).detach().flatten()
            for parameter in parameters
        ]
    )
    _call(lambda: distributed.all_reduce(flat))
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)
        parameter.grad.copy_(part.view_as(parameter))
