"""Local training: one client in one round."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import TrainingError
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.feed import BatchFeed, DeviceBatch
from fedvsr.training.memory import activation_checkpointing, saved_on_cpu
from fedvsr.training.objective import Objective
from fedvsr.training.parameter_groups import ParameterGroups
from fedvsr.training.ranks import ONE_PROCESS, Ranks
from fedvsr.training.scaled_steps import ScaledSteps
from fedvsr.training.step_losses import StepLosses
from fedvsr.training.weight_average import WeightAverage
from fedvsr.video.patches import PatchBatch

_AUTOCAST: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TrainingSummary:
    """The numbers of a client's training in a round.

    Attributes:
        loss: Mean of the loss L over the steps, without the strategy's term.
        steps: Number of steps.
        samples: Number of patches that the client trained on, in all processes.
        seconds: Wall time in seconds.
        skipped_steps: Number of the steps that changed no weight, because float16 gradients overflowed.
        waiting_seconds: The part of ``seconds`` in which training waited for patches.
    """

    loss: float
    steps: int
    samples: int
    seconds: float
    skipped_steps: int = 0
    waiting_seconds: float = 0.0


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
    ranks: Ranks = ONE_PROCESS,
) -> TrainingSummary:
    """Trains a model in place with Adam or AdamW, one step for each batch.

    With ``training.ema_decay`` the model ends with the average of its weights over the steps. Several
    processes call this with the same arguments, except for the device. Each of them computes its share of
    every batch, and all end with the same weights and summary: those of one process, up to rounding and to
    what the model draws at random, such as stochastic depth.

    Args:
        model: The model, on the device, with the base weights.
        batches: Low-resolution and ground-truth patches, the same in all processes.
        objective: The loss.
        term: The strategy's local term.
        training: Learning rate, decay rates, precision and memory settings.
        device: The device for the computation.
        on_step: Called after each step with the step's number, from 1, and its loss. On a GPU it is called
            one step later, when the loss is known.
        first_step: Number of local steps in earlier rounds, for parameters that are frozen at first.
        learning_rate_factor: Returns the factor of all learning rates in a step, counted from 1.
        ranks: The processes that train together.

    Raises:
        fedvsr.errors.NonFiniteLossError: The loss is NaN or infinite.
        fedvsr.errors.TrainingError: The trained weights are not finite, there is no batch, or the gradients
            of all steps overflowed.
        fedvsr.errors.ConfigError: Several processes cannot train this model.
    """
    start = time.perf_counter()
    ranks.check_model(model)
    model.train()
    groups = ParameterGroups(model, training, first_step)
    optimizer = _make_optimizer(groups, training)
    term.begin(optimizer)
    steps = ScaledSteps(
        optimizer,
        device,
        is_scaling=training.precision == "float16",
        before_step=term.correct_gradients,
    )
    average = WeightAverage(model, training.ema_decay) if training.ema_decay else None
    forward = torch.compile(model) if training.compile else model
    parameters = list(model.parameters())
    losses = StepLosses.on(device)
    feed = BatchFeed(batches, device, ranks, training.accumulation)
    step = samples = 0
    with activation_checkpointing(model, enabled=training.activation_checkpointing):
        while batch := feed.take():
            step += 1
            groups.freeze(step)
            groups.set_learning_rates(optimizer, learning_rate_factor(step))
            optimizer.zero_grad(set_to_none=True)
            loss = _backward(forward, batch, objective, term, training, device, steps)
            ranks.sum_gradients(parameters)
            losses.add(step, ranks.sum(loss), batch.clips)
            known = losses.take()
            feed.advance()
            if steps.step() and average:
                average.update()
            samples += len(batch.clips)
            for number, value in known:
                on_step(number, value)
        for number, value in losses.take(lag=0):
            on_step(number, value)
    groups.release()
    if not step:
        raise TrainingError("there was no batch to train on; check the client's shards")
    if steps.skipped == step:
        raise TrainingError(
            f"the float16 gradients of all {step} steps overflowed, so no weight changed; "
            "set training.precision to bfloat16 or float32"
        )
    if average:
        average.load()
    _check_finite(model, step)
    return TrainingSummary(
        loss=math.fsum(losses.values) / step,
        steps=step,
        samples=samples,
        seconds=time.perf_counter() - start,
        skipped_steps=steps.skipped,
        waiting_seconds=feed.waiting_seconds,
    )


def _make_optimizer(groups: ParameterGroups, training: TrainingConfig) -> torch.optim.Adam:
    betas = (training.beta1, training.beta2)
    if training.weight_decay:
        return torch.optim.AdamW(groups.optimizer_groups, betas=betas, weight_decay=training.weight_decay)
    return torch.optim.Adam(groups.optimizer_groups, betas=betas)


def _backward(
    forward: Callable[[Tensor], Tensor],
    batch: DeviceBatch,
    objective: Objective,
    term: LocalTerm,
    training: TrainingConfig,
    device: torch.device,
    steps: ScaledSteps,
) -> Tensor:
    """Adds up a batch's gradients, part by part.

    Returns:
        This process's part of the loss without the strategy's term, a float64 scalar on the device.
    """
    dtype = _AUTOCAST.get(training.precision)
    value = torch.zeros((), dtype=torch.float64, device=device)
    for part in batch.parts:
        with (
            torch.autocast(device.type, dtype, enabled=dtype is not None),
            saved_on_cpu(device, enabled=training.activations_on_cpu),
        ):
            loss = part.share * objective(forward(part.low_resolution), part.ground_truth)
            penalty = term.penalty(part.low_resolution)
        value = value + loss.detach()
        steps.backward(loss if penalty is None else loss + part.share * penalty)
    return value


def _check_finite(model: nn.Module, steps: int) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"tensor {name!r} is not finite after step {steps}; lower training.learning_rate"
            )
