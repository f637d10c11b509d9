"""Trainings that several processes do together, and one process alone, for comparison."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from fedvsr.config.run import TrainingConfig
from fedvsr.strategies.base import LocalTerm
from fedvsr.strategies.feddyn import DynamicRegulariser
from fedvsr.strategies.fedprox import ProximalTerm
from fedvsr.strategies.moon import ModelContrast
from fedvsr.strategies.scaffold import ControlVariates
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.training.ranks import ONE_PROCESS, LostRankError, Ranks
from tests.unit.training.toys import CPU, Stack, make_batches

STEPS = 4


class PartlyUsed(Stack):
    """Has a parameter that never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))


class Slow(Stack):
    """Takes longer in one process than in the others."""

    rank = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.rank == 1:
            time.sleep(0.1)
        return super().forward(x)


def _client_state(model: nn.Module) -> dict:
    return {name: 0.9 * value.numpy() for name, value in model.state_dict().items()}


TERMS = {
    "none": lambda model: LocalTerm(model, {}, {}),
    "fedprox": lambda model: ProximalTerm(model, 0.1),
    "scaffold": lambda model: ControlVariates(model, {}, {}),
    "feddyn": lambda model: DynamicRegulariser(model, {}, 0.1),
    "moon": lambda model: ModelContrast(model, _client_state(model), "", 1.0, 0.5),
}
# The name of a training: the model, the strategy's term, patches of a batch, and settings.
TRAININGS = {
    "plain": (Stack, "none", 4, {}),
    "one patch": (Stack, "fedprox", 1, {}),
    "uneven": (Stack, "fedprox", 5, {}),
    "parts": (Stack, "fedprox", 5, {"accumulation": 2}),
    "scaffold": (Stack, "scaffold", 3, {}),
    "feddyn": (Stack, "feddyn", 3, {}),
    "moon": (Stack, "moon", 3, {}),
    "frozen at first": (Stack, "none", 4, {"parameters": {"flow": {"frozen_steps": 2}}}),
    "unused parameter": (PartlyUsed, "none", 3, {"weight_decay": 0.1}),
    "checkpointing": (Stack, "none", 3, {"activation_checkpointing": True}),
    "average": (Stack, "none", 3, {"ema_decay": 0.9}),
    "bfloat16": (Stack, "none", 4, {"precision": "bfloat16"}),
    "float16": (Stack, "none", 3, {"precision": "float16"}),
    "straggler": (Slow, "none", 4, {}),
}


def train(name: str, ranks: Ranks = ONE_PROCESS) -> dict:
    """Returns the weights, the losses of the steps, the summary and what the strategy's term keeps."""
    model_class, term_name, size, settings = TRAININGS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class()
    if isinstance(model, Slow):
        model.rank = ranks.rank
    term = TERMS[term_name](model)
    losses: list[float] = []
    summary = train_locally(
        model,
        make_batches(STEPS, size),
        Objective(),
        term,
        TrainingConfig(learning_rate=1e-3, **settings),
        CPU,
        lambda step, loss: losses.append(loss),
        ranks=ranks,
    )
    kept = term.finish().client_state if term_name in ("scaffold", "feddyn") else {}
    return {
        "weights": {name: value.detach() for name, value in model.state_dict().items()},
        "losses": losses,
        "summary": (summary.loss, summary.steps, summary.samples, summary.skipped_steps),
        "kept": {name: torch.from_numpy(value) for name, value in kept.items()},
    }


def run_group(work: Callable[[int, int, Path], None], size: int, folder: Path) -> None:
    """Runs a function in processes, each with its rank, their number and the folder."""
    # All processes are forks of one that has imported these modules, which takes seconds.
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__, "torch._dynamo"])
    multiprocessing.start_processes(work, (size, folder), nprocs=size, start_method="forkserver")


@contextmanager
def group(rank: int, size: int, folder: Path, seconds: float = 60) -> Iterator[Ranks]:
    """Joins a group of processes that find each other by a file in a folder."""
    store = distributed.FileStore(str(folder / "store"), size)
    timeout = timedelta(seconds=seconds)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timeout)
    yield Ranks(rank, size)
    distributed.destroy_process_group()


def train_all(rank: int, size: int, folder: Path) -> None:
    """Does every training as one of several processes, and keeps what rank 0 and the last one end with."""
    torch.set_num_threads(1)
    with group(rank, size, folder) as ranks:
        results = {name: train(name, ranks) for name in TRAININGS}
        if rank in (0, size - 1):
            torch.save(results, folder / f"results-{rank}")
        distributed.barrier()


def wait_for_a_silent_rank(rank: int, size: int, folder: Path) -> None:
    """Rank 0 waits for rank 1, which never answers; rank 0 writes how that ended."""
    with group(rank, size, folder, seconds=2) as ranks:
        if rank == 0:
            try:
                ranks.sum(torch.ones(1))
            except LostRankError as error:
                (folder / "lost").write_text(str(error))
        else:
            deadline = time.monotonic() + 60
            while not (folder / "lost").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
