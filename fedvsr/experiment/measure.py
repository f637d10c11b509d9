"""What a training step costs, measured on this machine."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from fedvsr.config.run import RunConfig
from fedvsr.device import repeatable
from fedvsr.errors import InputError
from fedvsr.inference.free_memory import free_memory
from fedvsr.models.registry import build_model
from fedvsr.strategies.registry import build_strategy
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch

_FRAMES_ON_CPU: Final = (2, 4)
"""Lengths of the patches that are measured on a CPU: two show what a patch costs, and what a frame."""

_SHARE_OF_FREE_MEMORY: Final = 0.5
"""The share of the CPU's free memory that activations may take while a step is measured."""

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

    On a GPU it is a step of the run itself. On a CPU it is a step with one patch of 2 frames and, if the
    memory suffices, one of 4: time and activations are scaled to the run's frames, linearly, and to its
    batch. What the device takes besides, such as the GPU's workspaces, is not in the CPU's numbers.

    Args:
        config: The run.
        device: The device.

    Raises:
        fedvsr.errors.InputError: The model or strategy refuses its options, or the step does not fit the
            device's memory.
    """
    with repeatable(config.seed, config.training.threads):
        model = build_model(config.model.name, config.data.scale, config.model.options).to(device)
        return (
            _measure_on_gpu(model, config, device)
            if device.type == "cuda"
            else _measure_on_cpu(model, config)
        )


def _measure_on_gpu(model: nn.Module, config: RunConfig, device: torch.device) -> StepCost:
    name = torch.cuda.get_device_name(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        seconds, _ = _time_step(model, config, device, config.training.batch_size, config.training.frames)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"a step does not fit the memory of {name}; set training.accumulation, "
            "training.activation_checkpointing or training.activations_on_cpu"
        ) from error
    return StepCost(seconds, torch.cuda.max_memory_allocated(device), f"measured on {name}")


def _measure_on_cpu(model: nn.Module, config: RunConfig) -> StepCost:
    training = config.training
    cpu = torch.device("cpu")
    limit = int(_SHARE_OF_FREE_MEMORY * free_memory())
    shorter, longer = _FRAMES_ON_CPU
    try:
        short = _time_step(model, config, cpu, 1, shorter, limit)
    except _TooLargeError as error:
        raise InputError(
            f"a step with 1 patch of {shorter} frames takes more than half of the free memory "
            f"({limit / 1e9:.3g} GB); measure it on a GPU, or with a smaller training.patch_size"
        ) from error
    try:
        long = _time_step(model, config, cpu, 1, longer, limit)
        frames = f"{shorter} and {longer}"
    except _TooLargeError:
        long = (longer / shorter * short[0], longer / shorter * short[1])
        frames = str(shorter)
    seconds, activations = (
        _extrapolate(less, more, training.frames) for less, more in zip(short, long, strict=True)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    part = -(-training.batch_size // training.accumulation)
    how = (
        f"measured on this machine's CPU with 1 patch of {frames} frames, scaled to {training.batch_size} of "
        f"{training.frames}"
    )
    memory = math.ceil(_BYTES_PER_PARAMETER * parameters + part * activations)
    return StepCost(training.batch_size * seconds, memory, how)


def _extrapolate(less: float, more: float, frames: int) -> float:
    """Returns the cost of a patch from those of the two measured ones; none is cheaper than the shorter."""
    shorter, longer = _FRAMES_ON_CPU
    per_frame = (more - less) / (longer - shorter)
    return max(less + per_frame * (frames - shorter), less * min(frames / shorter, 1.0))


class _TooLargeError(Exception):
    """The activations take more than the limit."""


def _time_step(
    model: nn.Module,
    config: RunConfig,
    device: torch.device,
    patches: int,
    frames: int,
    limit: float = math.inf,
) -> tuple[float, float]:
    """Returns the seconds of the second of two steps, and the bytes that the first kept for its gradients.

    Raises:
        _TooLargeError: It keeps more bytes than the limit.
    """
    training = config.training
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    times: list[float] = []
    kept: dict[int, int] = {}
    total = 0
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def count(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if len(times) == 1 and address not in weights:
            total += storage.nbytes() - kept.get(address, 0)
            kept[address] = storage.nbytes()
            if total > limit:
                raise _TooLargeError
        return tensor

    small = training.patch_size // config.data.scale
    random = np.random.default_rng(0)
    batch = PatchBatch(
        random.random((patches, frames, 3, small, small), np.float32),
        random.random((patches, frames, 3, training.patch_size, training.patch_size), np.float32),
        tuple(f"patch-{number}" for number in range(patches)),
    )

    def read() -> Iterator[PatchBatch]:
        """Yields two batches. One is read as soon as the gradients of the one before are computed."""
        for number in range(3):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter())
            if number < 2:
                yield batch

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        train_locally(
            model,
            read(),
            Objective.of(training, high_frequency=strategy.high_frequency_loss),
            strategy.make_local_term(model, {}, {}),
            training,
            device,
            # After every frozen step, so that all parameters are trained.
            first_step=max((rule.frozen_steps for rule in training.parameters.values()), default=0),
        )
    return times[2] - times[1], float(total)
