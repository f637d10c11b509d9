"""Local training: one client in one round."""

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
from fedvsr.training.memory import activation_checkpointing, saved_on_cpu, split_batch
from fedvsr.training.objective import Objective
from fedvsr.training.parameter_groups import ParameterGroups
from fedvsr.training.weight_average import WeightAverage
from fedvsr.video.patches import PatchBatch


@dataclass(frozen=True)
class TrainingSummary:
    """The numbers of a client's training in a round.

    Attributes:
        loss: Mean of the loss L over the steps, without the strategy's term.
        steps: Number of optimiser steps.
        samples: Number of patches that the client trained on.
        seconds: Wall time in seconds.
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
    first_step: int = 0,
    learning_rate_factor: Callable[[int], float] = lambda step: 1.0,
) -> TrainingSummary:
    """Trains a model in place with Adam or AdamW, one step for each batch.

    With ``training.ema_decay`` the model ends with the average of its weights over the steps.

    Args:
        model: The model, on the device, with the base weights.
        batches: Low-resolution and ground-truth patches.
        objective: The loss.
        term: The strategy's local term.
        training: Learning rate, decay rates, precision and memory settings.
        device: The device for the computation.
        on_step: Called after each step with the step's number, from 1, and its loss.
        first_step: Number of local steps in earlier rounds, for parameters that are frozen at first.
        learning_rate_factor: Returns the factor of all learning rates in a step, counted from 1.

    Raises:
        fedvsr.errors.NonFiniteLossError: The loss is NaN or infinite.
        fedvsr.errors.TrainingError: The trained weights are not finite, or there is no batch.
    """
    start = time.perf_counter()
    model.train()
    groups = ParameterGroups(model, training, first_step)
    optimizer = _make_optimizer(groups, training)
    term.begin(optimizer)
    average = WeightAverage(model, training.ema_decay) if training.ema_decay else None
    forward = torch.compile(model) if training.compile else model
    losses: list[float] = []
    samples = 0
    with activation_checkpointing(model, enabled=training.activation_checkpointing):
        for step, batch in enumerate(batches, start=1):
            groups.freeze(step)
            groups.set_learning_rates(optimizer, learning_rate_factor(step))
            optimizer.zero_grad(set_to_none=True)
            value = _backward(forward, batch, objective, term, training, device)
            if not math.isfinite(value):
                raise NonFiniteLossError(step, value, batch.clips)
            term.correct_gradients()
            optimizer.step()
            if average:
                average.update()
            losses.append(value)
            samples += len(batch.clips)
            on_step(step, value)
    groups.release()
    if not losses:
        raise TrainingError("there was no batch to train on; check the client's shards")
    if average:
        average.load()
    _check_finite(model, len(losses))
    return TrainingSummary(math.fsum(losses) / len(losses), len(losses), samples, time.perf_counter() - start)


def _make_optimizer(groups: ParameterGroups, training: TrainingConfig) -> torch.optim.Adam:
    betas = (training.beta1, training.beta2)
    if training.weight_decay:
        return torch.optim.AdamW(groups.optimizer_groups, betas=betas, weight_decay=training.weight_decay)
    return torch.optim.Adam(groups.optimizer_groups, betas=betas)


def _backward(
    forward: Callable[[Tensor], Tensor],
    batch: PatchBatch,
    objective: Objective,
    term: LocalTerm,
    training: TrainingConfig,
    device: torch.device,
) -> float:
    """Adds up a batch's gradients, part by part; returns the loss without the strategy's term."""
    value = 0.0
    for part in split_batch(batch, training.accumulation):
        share = len(part.clips) / len(batch.clips)
        low_resolution = _tensor(part.low_resolution, device)
        target = _tensor(part.ground_truth, device)
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"),
            saved_on_cpu(device, enabled=training.activations_on_cpu),
        ):
            loss = share * objective(forward(low_resolution), target)
            penalty = term.penalty(low_resolution)
        value += float(loss.detach())
        if not math.isfinite(value):
            break
        (loss if penalty is None else loss + share * penalty).backward()  # type: ignore[no-untyped-call]
    return value


def _check_finite(model: nn.Module, steps: int) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"tensor {name!r} is not finite after step {steps}; lower training.learning_rate"
            )


def _tensor(array: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        # With pinned memory, the copy runs during the previous step.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
