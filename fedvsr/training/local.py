"""One client's training in one round."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import NonFiniteLossError, TrainingError
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch


@dataclass(frozen=True)
class TrainingSummary:
    """What a client's training amounted to.

    Attributes:
        loss: Mean of L over the steps, without the strategy's own term.
        steps: Optimiser steps.
        samples: Patches trained on.
        seconds: Wall time.
    """

    loss: float
    steps: int
    samples: int
    seconds: float


def train_locally(
    model: nn.Module,
    batches: Iterable[PatchBatch],
    objective: Objective,
    term: LocalTerm,
    training: TrainingConfig,
    device: torch.device,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> TrainingSummary:
    """Trains a model in place with Adam, one step a batch.

    Args:
        model: The model, on the device, with the global weights.
        batches: Degraded and ground-truth patches.
        objective: The loss.
        term: The strategy's part.
        training: Learning rate, decay rates and precision.
        device: Where to compute.
        on_step: Called after each step with its number, from 1, and its loss.

    Raises:
        fedvsr.errors.NonFiniteLossError: The loss became NaN or infinite.
        fedvsr.errors.TrainingError: The trained weights are not finite, or there was no batch.
    """
    start = time.perf_counter()
    model.train()
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
    )
    losses: list[float] = []
    samples = 0
    for step, batch in enumerate(batches, start=1):
        degraded = _tensor(batch.degraded, device)
        target = _tensor(batch.ground_truth, device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            loss = objective(model(degraded), target)
            penalty = term.penalty(degraded)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFiniteLossError(step, value, batch.clips)
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
        term.correct_gradients()
        optimizer.step()
        losses.append(value)
        samples += len(batch.clips)
        on_step(step, value)
    if not losses:
        raise TrainingError("there was no batch to train on; look at the client's shards")
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"tensor {name!r} is not finite after step {len(losses)}; lower training.learning_rate"
            )
    return TrainingSummary(math.fsum(losses) / len(losses), len(losses), samples, time.perf_counter() - start)


def _tensor(array: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        # Pinned memory lets the copy run beside the previous step.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
