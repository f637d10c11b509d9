"""Peak memory and steps per second of the published configurations, with the settings that save memory.

For every recipe in `recipes/`, a step of a client is measured as the recipe has it, and then with other
settings: recomputed activations, activations in the CPU's memory, a batch in parts, and the three precisions.
The patches are noise. Frozen parameters are frozen as after 10,000 steps. The result is a Markdown table with
the device's name. What does not fit or is not measured is said below it, with the reason.

    python benchmarks/gpu_training.py                                    # on a GPU, all recipes
    python benchmarks/gpu_training.py --recipes fedvsr-iart --seconds 120
    python benchmarks/gpu_training.py --device cpu --tiny                # tries this program, without a GPU
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedvsr.config.experiment import load_experiment
from fedvsr.config.run import RunConfig, TrainingConfig
from fedvsr.device import repeatable
from fedvsr.errors import TrainingError
from fedvsr.models.registry import build_model
from fedvsr.strategies.registry import build_strategy
from fedvsr.training.local import train_locally
from fedvsr.training.memory_errors import clear_memory_errors
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch

# The presets belong to the tests, which are not an installed package.
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.unit.models.tiny import TINY

RECIPES = Path(__file__).parents[1] / "recipes"
WARM_UP = 2
"""Steps that are not counted: they allocate memory and choose algorithms."""

SETTINGS: dict[str, dict[str, Any]] = {
    "as in the recipe": {},
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "activation_checkpointing": {"activation_checkpointing": True},
    "activations_on_cpu": {"activations_on_cpu": True},
    "accumulation: batch_size": {"accumulation": 0},
    "all three, bfloat16": {
        "precision": "bfloat16",
        "activation_checkpointing": True,
        "activations_on_cpu": True,
        "accumulation": 0,
    },
}
SMALL = {"frames": 3, "patch_size": 64, "batch_size": 2}


@dataclass(frozen=True)
class Row:
    """A measured configuration: seconds of a step, and peak bytes of the device's memory if it is a GPU."""

    recipe: str
    settings: str
    shape: str
    seconds: float
    peak: int | None


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny models, short and small patches")
    parser.add_argument("--recipes", nargs="*", default=None, help="names of recipes; default: all")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each configuration")
    parser.add_argument(
        "--seconds", type=float, default=600, help="no configuration is begun after this long"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("Skipped: PyTorch finds no CUDA device. `--device cpu --tiny` tries this program without one.")
        return
    recipes = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    give_up_at = time.monotonic() + arguments.seconds
    rows: list[Row] = []
    skipped: list[str] = []
    for name in arguments.recipes or recipes:
        config = load_recipe(recipes[name], tiny=arguments.tiny)
        measured: list[TrainingConfig] = []
        for label, changes in SETTINGS.items():
            training = changed(config.training, changes)
            if training in measured:
                continue
            measured.append(training)
            if time.monotonic() > give_up_at:
                skipped.append(f"{name}, {label}: not begun, {arguments.seconds:.0f} s were over")
                continue
            try:
                rows.append(measure(name, label, config, training, device, arguments.steps))
            except TrainingError as error:
                skipped.append(f"{name}, {label}: {error}")
    print_table(rows, skipped, device)


def load_recipe(path: Path, *, tiny: bool) -> RunConfig:
    """Returns a recipe's run, or a tiny one of the same kind."""
    experiment = load_experiment(path)
    count = max(1, experiment.federation.clients_per_round)
    config = experiment.run_config(tuple(f"client-{number}" for number in range(count)))
    if not tiny:
        return config
    values = config.model_dump()
    values["model"]["options"] = TINY[config.model.name]
    values["training"] |= SMALL
    return RunConfig.parse(values)


def changed(training: TrainingConfig, changes: dict[str, Any]) -> TrainingConfig:
    """Returns settings with changes; accumulation 0 stands for as many parts as the batch has patches."""
    values = {**training.model_dump(), **changes}
    values["accumulation"] = values["accumulation"] or values["batch_size"]
    return TrainingConfig.parse(values)


def measure(
    recipe: str,
    settings: str,
    config: RunConfig,
    training: TrainingConfig,
    device: torch.device,
    steps: int,
) -> Row:
    """Measures the steps of one configuration.

    Raises:
        fedvsr.errors.TrainingError: It does not fit the device's memory, or no step counts.
    """
    low = training.patch_size // config.data.scale
    random = np.random.default_rng(0)
    shape = (training.batch_size, training.frames, 3)
    batch = PatchBatch(
        random.random((*shape, low, low), np.float32),
        random.random((*shape, training.patch_size, training.patch_size), np.float32),
        tuple(f"noise-{number}" for number in range(training.batch_size)),
    )
    times: list[float] = []

    def read() -> Iterator[PatchBatch]:
        for _ in range(WARM_UP + steps):
            if len(times) == WARM_UP:
                synchronize(device)
            times.append(time.perf_counter())
            yield batch
        synchronize(device)
        times.append(time.perf_counter())

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    with repeatable(0), clear_memory_errors("it does not fit", device):
        model = build_model(config.model.name, config.data.scale, config.model.options).to(device)
        train_locally(
            model,
            read(),
            Objective.of(training, high_frequency=strategy.high_frequency_loss),
            strategy.make_local_term(model, {}, {}),
            training,
            device,
            first_step=10_000,
        )
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    patch = f"{training.batch_size} × {training.frames} × {training.patch_size}²"
    return Row(recipe, settings, patch, (times[-1] - times[WARM_UP]) / steps, peak)


def synchronize(device: torch.device) -> None:
    """Waits for a GPU, so that a time is that of finished work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def print_table(rows: list[Row], skipped: list[str], device: torch.device) -> None:
    """Prints the table in Markdown."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"
    print(f"### {name}, PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'none'}\n")
    print("| recipe | settings | batch × frames × patch | s/step | steps/s | peak GB |")
    print("|---|---|---|---:|---:|---:|")
    for row in rows:
        peak = "–" if row.peak is None else f"{row.peak / 1e9:.2f}"
        speed = f"{row.seconds:.3f} | {1 / row.seconds:.2f}"
        print(f"| {row.recipe} | {row.settings} | {row.shape} | {speed} | {peak} |")
    for line in skipped:
        print(f"\nSkipped: {line}")


if __name__ == "__main__":
    main()
