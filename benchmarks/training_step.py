"""One training step of every published architecture's tiny preset, on one CPU thread, against FastVSR's.

A step is what a client does: forward, loss, backward, Adam; one patch of three frames, 16 × 16 to 64 × 64.
Each model runs in a process of its own, so that its peak memory is its own. With a model's name as the only
argument, PyTorch's profiler says which operators the step spends its time in.
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

# The presets are those of the tests.
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.unit.models.tiny import TINY

PEER = "fastvsr"
STEPS = 6
"""The first one is not counted: it allocates."""


def train(name: str, side: int = 16) -> list[float]:
    """Trains a few steps on frames of a size; returns each one's CPU seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_model(name, 4, TINY.get(name))
    random = np.random.default_rng(0)
    low, high = (random.random((1, 3, 3, each, each), np.float32) for each in (side, 4 * side))
    batch = PatchBatch(low, high, ("noise",))
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
    """Prints the median step's CPU seconds, and by how many MB training raised the peak memory."""
    # What is imported on the way does not count, nor does FastVSR on frames of one pixel.
    build_model(name, 4, TINY.get(name))
    train(PEER, side=1)
    before = peak_memory()
    seconds = statistics.median(train(name)[1:])
    print(seconds, peak_memory() - before)


def peak_memory() -> float:
    """Returns the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def profile(name: str) -> None:
    """Prints where the time goes."""
    train(name)
    with torch.profiler.profile() as profiler:
        train(name)
    print(
        profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40)
    )


def main() -> None:
    """Compares the models."""
    results = {}
    for name in (PEER, *TINY):
        command = [sys.executable, __file__, "measure", name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
        results[name] = [float(number) for number in output.split()]
    print(f"{'a step of':<12} {'seconds':>8} {'× FastVSR':>10} {'more MB':>8}")
    for name, (seconds, memory) in results.items():
        print(f"{name:<12} {seconds:8.3f} {seconds / results[PEER][0]:10.1f} {memory:8.0f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[2])
    elif len(sys.argv) == 2:
        profile(sys.argv[1])
    else:
        main()
