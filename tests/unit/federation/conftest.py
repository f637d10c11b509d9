"""Runs whose first round is trained, made once and copied for every test that spoils them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, ReportRecord, read_record, write_record
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.runs import load_run
from fedvsr.store.base import Store, bytes_digest
from fedvsr.store.workspace import Workspace
from fedvsr.strategies.base import Strategy
from fedvsr.strategies.registry import build_strategy
from fedvsr.weights import Array, WeightsFile, serialize

RUN = "test"


@dataclass
class TrainedRound:
    """A run whose first round waits for its aggregation, and ways to spoil it."""

    workspace: Workspace

    @property
    def store(self) -> Store:
        return self.workspace.federation()

    @property
    def plan(self) -> PlanRecord:
        return read_record(self.store, layout.plan(RUN, 1), PlanRecord)

    @property
    def strategy(self) -> Strategy:
        config = load_run(self.store, RUN).config
        return build_strategy(config.strategy.name, config.strategy.options)

    def tensors(self, client: str) -> dict[str, Array]:
        return WeightsFile(self.file(layout.update(RUN, 1, client))).load()

    def file(self, key: str) -> Path:
        """The file of an object, to be spoiled."""
        return Path(self.store.uri) / key

    def report(self, client: str) -> ReportRecord:
        return read_record(self.store, layout.report(RUN, 1, client), ReportRecord)

    def rewrite_report(self, client: str, /, **changes: object) -> None:
        report = self.report(client).model_copy(update=changes)
        write_record(self.store, layout.report(RUN, 1, client), report)

    def rewrite_update(self, client: str, tensors: dict[str, Array]) -> None:
        """Replaces a client's tensors by others, with a report that says so."""
        data = serialize(tensors)
        self.store.write(layout.update(RUN, 1, client), data)
        self.rewrite_report(client, update_digest=bytes_digest(data), update_bytes=len(data))

    def rewrite_extra(self, client: str, tensors: dict[str, Array]) -> None:
        """Replaces what a client's local term sent."""
        data = serialize(tensors)
        self.store.write(layout.update_extra(RUN, 1, client), data)
        self.rewrite_report(client, extra_digest=bytes_digest(data), extra_bytes=len(data))


@pytest.fixture(scope="session")
def _trained_rounds(tmp_path_factory, make_config, make_clip, write_clips) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def find(strategy: str) -> Path:
        if strategy not in made:
            root = tmp_path_factory.mktemp(strategy)
            workspace = Workspace.below(str(root / "stores"))
            folder = layout.training_clips(DataConfig().dataset)
            for index, client in enumerate(("ann", "bob", "cleo")):
                clips = {f"{client}-{each}": make_clip(10 * index + each) for each in range(index + 1)}
                write_clips(workspace.client(client), folder, clips, root)
            config: RunConfig = make_config(
                strategy__name=strategy, federation__clients=["ann", "bob", "cleo"], federation__quorum=2
            )
            record = prepare_run(workspace.federation(), config)
            train_round(workspace, record, 1, InProcessRunner())
            made[strategy] = root / "stores"
        return made[strategy]

    return find


@pytest.fixture
def trained_round(_trained_rounds, tmp_path: Path) -> Callable[..., TrainedRound]:
    """Returns a copy of a run of ann, bob and cleo (1, 2 and 3 clips, quorum 2) after their training."""

    def copy(strategy: str = "fedavg") -> TrainedRound:
        shutil.copytree(_trained_rounds(strategy), tmp_path / strategy)
        return TrainedRound(Workspace.below(str(tmp_path / strategy)))

    return copy
