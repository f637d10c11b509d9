"""What a training step costs, measured on this machine."""

import math
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from fedvsr.config.run import RunConfig
from fedvsr.device import repeatable
from fedvsr.models.registry import build_model
from fedvsr.strategies.registry import build_strategy
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch

_FRAMES_ON_CPU: Final = (2, 4)
"""Lengths of the patches that are measured on a CPU: two show what a patch costs, and what a frame."""

_BYTES_PER_PARAMETER: Final = 16
"""A weight, its gradient and Adam's two moments, each of 4 bytes."""


@dataclass(frozen=True)
class StepCost:
    """The cost of a training step of a run.

    Attributes:
        seconds: The time.
        memory: Bytes of memory for the weights, their gradients, the optimiser and the activations.
        how: What was measured, and how it was scaled, in words.
    """

    seconds: float
    memory: int
    how: str


def measure_step(config: RunConfig, device: torch.device) -> StepCost:
    """Measures a training step on random patches, without frozen parameters.

    On a GPU it is a step of the run itself. On a CPU it is a step with one patch of 2 and one of 4 frames:
    time and activations are scaled to the run's frames, linearly, and to its batch. What the device takes
    besides, such as the GPU's workspaces, is not in the CPU's numbers.

    Args:
        config: The run.
        device: The device.

    Raises:
        fedvsr.errors.ConfigError: The model or strategy refuses its options.
        torch.OutOfMemoryError: The step does not fit the GPU's memory.
    """
    training = config.training
    part = -(-training.batch_size // training.accumulation)
    with repeatable(config.seed, training.threads):
        model = build_model(config.model.name, config.data.scale, config.model.options).to(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            seconds, _ = _time_step(model, config, device, training.batch_size, training.frames)
            memory = torch.cuda.max_memory_allocated(device)
            return StepCost(seconds, memory, f"measured on {torch.cuda.get_device_name(device)}")
        short, long = (_time_step(model, config, device, 1, frames) for frames in _FRAMES_ON_CPU)
    seconds, activations = (
        _extrapolate(less, more, training.frames) for less, more in zip(short, long, strict=True)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    frames = " and ".join(map(str, _FRAMES_ON_CPU))
    how = (
        f"measured on this machine's CPU with 1 patch of {frames} frames, scaled to {training.batch_size} of "
        f"{training.frames}"
    )
    bytes_needed = _BYTES_PER_PARAMETER * parameters + part * activations
    return StepCost(training.batch_size * seconds, math.ceil(bytes_needed), how)


def _extrapolate(less: float, more: float, frames: int) -> float:
    """Returns the cost of a patch from those of the two measured ones; none is cheaper than the shorter."""
    shorter, longer = _FRAMES_ON_CPU
    per_frame = (more - less) / (longer - shorter)
    return max(less + per_frame * (frames - shorter), less * min(frames / shorter, 1.0))


def _time_step(
    model: nn.Module, config: RunConfig, device: torch.device, patches: int, frames: int
) -> tuple[float, float]:
    """Returns the seconds of the second of two steps, and the bytes that the first kept for its gradients."""
    training = config.training
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    times = [time.perf_counter()]
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if len(times) == 1 and storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def on_step(step: int, loss: float) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    small = training.patch_size // config.data.scale
    random = np.random.default_rng(0)
    batch = PatchBatch(
        random.random((patches, frames, 3, small, small), np.float32),
        random.random((patches, frames, 3, training.patch_size, training.patch_size), np.float32),
        tuple(f"patch-{number}" for number in range(patches)),
    )
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        train_locally(
            model,
            [batch, batch],
            Objective(training.lambda_vsr, training.lambda_hf if strategy.high_frequency_loss else 0.0),
            strategy.make_local_term(model, {}, {}),
            training,
            device,
            on_step,
            # After every frozen step, so that all parameters are trained.
            first_step=max((rule.frozen_steps for rule in training.parameters.values()), default=0),
        )
    return times[2] - times[1], float(sum(kept.values()))
