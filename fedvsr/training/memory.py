"""Training in less memory: activations computed again, kept on the CPU, or for a part of the batch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fedvsr.video.patches import PatchBatch


@contextmanager
def activation_checkpointing(model: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Has a model's parts keep their inputs alone and compute the rest again in the backward pass.

    The parts are the modules named by the model's attribute ``checkpointed_modules``, else its direct
    children that have parameters. The gradients are the same bytes on a CPU.
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
            # The instance's attribute hid the class's method.
            del module.forward


def saved_on_cpu(device: torch.device, *, enabled: bool) -> AbstractContextManager[Any]:
    """Keeps what the backward pass needs in the CPU's memory: for sequences longer than the GPU's holds."""
    if not enabled:
        return nullcontext()
    return torch.autograd.graph.save_on_cpu(pin_memory=device.type == "cuda")


def split_batch(batch: PatchBatch, parts: int) -> list[PatchBatch]:
    """Splits a batch into at most ``parts`` batches of nearly equal size, in order."""
    indices = [each for each in np.array_split(np.arange(len(batch.clips)), parts) if len(each)]
    return [
        PatchBatch(
            batch.low_resolution[each],
            batch.ground_truth[each],
            tuple(batch.clips[index] for index in each),
        )
        for each in indices
    ]
