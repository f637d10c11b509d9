"""A run whose first round is trained. It is trained once, and each test damages a copy of it."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.federation import layout
from fedvsr.federation.communication import RoundWeights
from fedvsr.federation.records import PlanRecord, ReportRecord, RunRecord, read_record, write_record
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.round_deliveries import open_delivery
from fedvsr.store.base import Store, bytes_digest
from fedvsr.store.workspace import Workspace
from fedvsr.strategies.base import Strategy
from fedvsr.strategies.registry import build_strategy, strategy_class
from fedvsr.weights import Array, WeightsFile, serialize

RUN = "test"


@dataclass
class TrainedRound:
    """A run whose first round is trained but not aggregated, and ways to damage it."""

    workspace: Workspace

    @property
    def store(self) -> Store:
        return self.workspace.federation()

    @property
    def plan(self) -> PlanRecord:
        return read_record(self.store, layout.plan(RUN, 1), PlanRecord)

    @property
    def run(self) -> RunRecord:
        return load_run(self.store, RUN)

    def check_update(self, client: str) -> None:
        """Opens a client's delivery and reads it to its end, as the aggregation does."""
        weights = RoundWeights.load(self.store, self.run.config, self.plan)
        with tempfile.TemporaryDirectory() as folder:
            open_delivery(self.store, weights, client, self.strategy, Path(folder)).verify()

    @property
    def strategy(self) -> Strategy:
        config = self.run.config
        return build_strategy(config.strategy.name, config.strategy.options)

    def tensors(self, client: str) -> dict[str, Array]:
        return WeightsFile(self.file(layout.update(RUN, 1, client))).load()

    def file(self, key: str) -> Path:
        """Returns the path of an object's file, so that a test can damage it."""
        return Path(self.store.uri) / key

    def report(self, client: str) -> ReportRecord:
        return read_record(self.store, layout.report(RUN, 1, client), ReportRecord)

    def rewrite_report(self, client: str, /, **changes: object) -> None:
        report = self.report(client).model_copy(update=changes)
        write_record(self.store, layout.report(RUN, 1, client), report)

    def rewrite_update(self, client: str, tensors: dict[str, Array]) -> None:
        """Replaces a client's weights, with a report that matches them."""
        data = serialize(tensors)
        self.store.write(layout.update(RUN, 1, client), data)
        self.rewrite_report(client, update_digest=bytes_digest(data), update_bytes=len(data))

    def rewrite_strategy_tensors(self, client: str, tensors: dict[str, Array]) -> None:
        """Replaces a client's strategy tensors, with a report that matches them."""
        data = serialize(tensors)
        self.store.write(layout.strategy_tensors(RUN, 1, client), data)
        self.rewrite_report(client, extra_digest=bytes_digest(data), extra_bytes=len(data))


@pytest.fixture(scope="session")
def _trained_rounds(tmp_path_factory, make_config, make_clip, write_clips) -> Callable[..., Path]:
    stores: dict[tuple[str, ...], Path] = {}

    def train(strategy: str, upload: str, download: str) -> Path:
        key = (strategy, upload, download)
        if key not in stores:
            root = tmp_path_factory.mktemp(strategy)
            workspace = Workspace.under(str(root / "stores"))
            folder = layout.training_clips(DataConfig().dataset)
            for index, client in enumerate(("ann", "bob", "cleo")):
                clips = {f"{client}-{clip}": make_clip(10 * index + clip) for clip in range(index + 1)}
                write_clips(workspace.client(client), folder, clips, root)
            # Three clients are enough for a strategy that counts on no malicious one.
            options = {"malicious": 0} if "malicious" in strategy_class(strategy).Options.model_fields else {}
            config: RunConfig = make_config(
                strategy__name=strategy,
                strategy__options=options,
                federation__clients=["ann", "bob", "cleo"],
                federation__quorum=max(2, build_strategy(strategy, options).min_updates),
                communication__upload=upload,
                communication__download=download,
            )
            record = prepare_run(workspace.federation(), config)
            train_round(workspace, record, 1, InProcessRunner())
            stores[key] = root / "stores"
        return stores[key]

    return train


@pytest.fixture
def trained_round(_trained_rounds, tmp_path: Path) -> Callable[..., TrainedRound]:
    """Copies a run of ann, bob and cleo (1, 2 and 3 clips) in which all have trained round 1.

    The quorum is 2, or more if the strategy needs more.
    """

    def copy(strategy: str = "fedavg", upload: str = "float32", download: str = "float32") -> TrainedRound:
        folder = tmp_path / "-".join((strategy, upload, download))
        shutil.copytree(_trained_rounds(strategy, upload, download), folder)
        return TrainedRound(Workspace.under(str(folder)))

    return copy
