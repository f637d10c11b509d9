"""Ways to save memory in training: recompute activations, keep them on the CPU, or split the batch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint

from fedvsr.video.patches import PatchBatch


@contextmanager
def activation_checkpointing(model: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Makes parts of a model keep only their inputs, and recompute the rest in the backward pass.

    The parts are the modules that the model's attribute ``checkpointed_modules`` names, or else its direct
    children with parameters. On a CPU, the gradients are byte for byte the same as without checkpointing.
    """
    if not enabled:
        yield
        return
    names = getattr(model, "checkpointed_modules", None) or [
        name for name, child in model.named_children() if any(True for _ in child.parameters())
    ]
    modules = [model.get_submodule(name) for name in names]
    for module in modules:
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    try:
        yield
    finally:
        for module in modules:
            # Restores the method of the class, which the instance's attribute hides.
            del module.forward


def saved_on_cpu(device: torch.device, *, enabled: bool) -> AbstractContextManager[Any]:
    """Keeps activations for the backward pass in the CPU's memory; for videos too long for the GPU."""
    if not enabled:
        return nullcontext()
    return torch.autograd.graph.save_on_cpu(pin_memory=device.type == "cuda")


def split_batch(batch: PatchBatch, parts: int) -> list[PatchBatch]:
    """Splits a batch into at most ``parts`` batches of nearly equal size, in order."""
    return [
        select_patches(batch, indices)
        for indices in np.array_split(np.arange(len(batch.clips)), parts)
        if len(indices)
    ]


def select_patches(batch: PatchBatch, indices: NDArray[np.int64]) -> PatchBatch:
    """Returns a batch of some of a batch's patches, in the order of their indices."""
    return PatchBatch(
        batch.low_resolution[indices],
        batch.ground_truth[indices],
        tuple(batch.clips[index] for index in indices),
    )
