"""Compares one training step of each published architecture's tiny preset with FastVSR's, on one CPU thread.

A step is a client's step: forward, loss, backward and Adam, for one patch of three frames, 16×16 to 64×64
pixels. Each model runs in a separate process, so that the peak memory is only the model's. If a model's name
is the only argument, PyTorch's profiler shows the time of each operator in that model's steps.
"""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from fedvsr.config.run import TrainingConfig
from fedvsr.models.registry import build_model
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch

# The presets belong to the tests, which are not an installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.unit.models.tiny import TINY

PEER = "fastvsr"
STEPS = 6
"""The first step is not counted, because it allocates memory."""


def train(name: str, side: int = 16) -> list[float]:
    """Trains a few steps on low-resolution frames of side × side pixels; returns each step's CPU seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_model(name, 4, TINY.get(name))
    random = np.random.default_rng(0)
    low_resolution = random.random((1, 3, 3, side, side), np.float32)
    ground_truth = random.random((1, 3, 3, 4 * side, 4 * side), np.float32)
    batch = PatchBatch(low_resolution, ground_truth, ("noise",))
    times = [time.process_time()]
    train_locally(
        model,
        [batch] * STEPS,
        Objective(),
        LocalTerm(model, {}, {}),
        TrainingConfig(),
        torch.device("cpu"),
        lambda step, loss: times.append(time.process_time()),
    )
    return np.diff(times).tolist()


def measure(name: str) -> None:
    """Prints a step's median CPU seconds, and by how many MB training raised the peak memory."""
    # Imports and PyTorch's own start must not count, so they happen before the measurement.
    build_model(name, 4, TINY.get(name))
    train(PEER, side=1)
    peak_before = peak_memory()
    seconds = statistics.median(train(name)[1:])
    print(seconds, peak_memory() - peak_before)


def peak_memory() -> float:
    """Returns the peak memory of this process in MB (2²⁰ bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def profile(name: str) -> None:
    """Prints the operators with the longest CPU time."""
    train(name)
    with torch.profiler.profile() as profiler:
        train(name)
    print(
        profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40)
    )


def main() -> None:
    """Prints a table of all models."""
    results = {}
    for name in (PEER, *TINY):
        command = [sys.executable, __file__, "measure", name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
        results[name] = [float(number) for number in output.split()]
    print(f"{'model':<12} {'seconds':>8} {'× FastVSR':>10} {'more MB':>8}")
    for name, (seconds, memory) in results.items():
        print(f"{name:<12} {seconds:8.3f} {seconds / results[PEER][0]:10.1f} {memory:8.0f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[2])
    elif len(sys.argv) == 2:
        profile(sys.argv[1])
    else:
        main()
