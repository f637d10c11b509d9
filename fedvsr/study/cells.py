"""The cells of a study: one run for each strategy, combination of levels and seed."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedvsr.config.experiment import Experiment, TrackingConfig, load_experiment
from fedvsr.config.study import CENTRAL, StudyConfig
from fedvsr.errors import ConfigError
from fedvsr.store.base import bytes_digest

_OTHER_STORES = {"store": "", "tracking": TrackingConfig()}


@dataclass(frozen=True)
class Cell:
    """A run of a study.

    Attributes:
        strategy: The strategy's label, or `fedvsr.config.study.CENTRAL`.
        levels: The level of each factor, in the study's order. Central training that is the same for several
            levels is one cell, with the first of them.
        seed: The seed.
        experiment: What is trained.
    """

    strategy: str
    levels: tuple[tuple[str, str], ...]
    seed: int
    experiment: Experiment

    @property
    def label(self) -> str:
        """A text for people, for example ``fedavg · equal · seed 1``."""
        return " · ".join([self.strategy, *(level for _, level in self.levels), f"seed {self.seed}"])

    @cached_property
    def id(self) -> str:
        """A name for its folder. Other settings have another one."""
        parts = [self.strategy, *(level for _, level in self.levels), str(self.seed)]
        return "-".join(parts) + f"-{settings_digest(self.experiment)}"


@dataclass(frozen=True)
class Matrix:
    """All cells of a study.

    Attributes:
        cells: The cells; every one is another run.
        central: The cell of central training for levels and a seed; empty without central training.
    """

    cells: tuple[Cell, ...]
    central: dict[tuple[tuple[tuple[str, str], ...], int], Cell]


def expand(study: StudyConfig, store: str) -> Matrix:
    """Returns the cells of a study.

    Seeds are outermost, so a study that is stopped early has some seeds of everything.

    Args:
        study: The study.
        store: The folder of the runs.

    Raises:
        fedvsr.errors.ConfigError: A cell's experiment is not valid.
    """
    cells: list[Cell] = []
    central: dict[tuple[tuple[tuple[str, str], ...], int], Cell] = {}
    seeds = sorted({seed for label in (*study.strategies, CENTRAL) for seed in study.seeds_of(label)})
    trained_centrally: dict[str, Cell] = {}
    for seed in seeds:
        for levels in _combinations(study):
            for label in study.strategies:
                if seed in study.seeds_of(label):
                    cells.append(Cell(label, levels, seed, _experiment(study, label, levels, seed, store)))
            if study.central and seed in study.seeds_of(CENTRAL):
                cell = Cell(CENTRAL, levels, seed, _central(study, levels, seed, store))
                same = trained_centrally.setdefault(settings_digest(cell.experiment), cell)
                central[levels, seed] = same
                if same is cell:
                    cells.append(cell)
    return Matrix(tuple(cells), central)


def settings_digest(experiment: Experiment) -> str:
    """Returns eight characters that differ if an experiment's settings differ."""
    settings = experiment.model_copy(update=_OTHER_STORES)
    return bytes_digest(settings.model_dump_json().encode())[:8]


def _combinations(study: StudyConfig) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yields every combination of the factors' levels."""
    factors = ([(name, level) for level in levels] for name, levels in study.factors.items())
    yield from itertools.product(*factors)


def _experiment(
    study: StudyConfig, label: str, levels: tuple[tuple[str, str], ...], seed: int, store: str
) -> Experiment:
    overrides: dict[str | tuple[str, ...], Any] = {}
    overrides.update(study.overrides)
    for factor, level in levels:
        overrides.update(study.factors[factor][level])
    if label in study.strategies:
        overrides.update(study.strategies[label].overrides)
    overrides.update({"name": study.name, "seed": seed, "store": store})
    return load_experiment(study.experiment, overrides)


def _central(study: StudyConfig, levels: tuple[tuple[str, str], ...], seed: int, store: str) -> Experiment:
    """Returns the training in one place: one client with all videos, in one long round.

    It sees as many samples as a run without failures does, with the same batches and learning rates, and has
    the reference's loss.
    """
    experiment = _experiment(study, study.reference, levels, seed, store)
    split, training, federation = experiment.clients.split, experiment.training, experiment.federation
    if split is None or not training.local_steps:
        raise ConfigError(
            "central",
            True,
            "it needs clients.split and training.local_steps in the experiment; set central: false without",
        )
    clients = federation.clients_per_round or split.count
    values = experiment.model_dump(mode="json")
    values["clients"]["split"].update({"count": 1, "scheme": "equal", "alpha": 0.1, "unit": "videos"})
    values["federation"].update({"rounds": 1, "clients_per_round": 0, "quorum": 1})
    values["federation"].pop("failing_share", None)
    values["training"]["local_steps"] = federation.rounds * clients * training.local_steps
    return Experiment.parse(values)
