"""Drives a run's rounds from one process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation, is_evaluated
from fedvsr.federation.owner.clips import shard_videos
from fedvsr.federation.owner.sources import LocalSource
from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.federation.run.clients import add_client
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.training_round import ClientRunner, train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace

OnRound = Callable[[RoundRecord, EvaluationRecord | None], None]


@dataclass(frozen=True)
class Videos:
    """A federation's videos on this machine.

    Attributes:
        clients: Each client's videos, by the client's name.
        evaluation: The held-out videos.
    """

    clients: Mapping[str, Sequence[LocalSource]]
    evaluation: Sequence[LocalSource]


def shard_all(
    workspace: Workspace, videos: Videos, data: DataConfig, progress: Progress | None = None
) -> None:
    """Makes the shards of every client and of the held-out clips. Current shards stay as they are.

    Raises:
        fedvsr.errors.ConfigError: Two owners have the same video.
        fedvsr.errors.VideoError: A video cannot be used.
    """
    progress = progress or Progress()
    _check_disjoint(videos)
    owner_count = len(videos.clients) + 1
    with progress.stage("shard", owner_count) as advance:
        for done, (client, sources) in enumerate(videos.clients.items(), start=1):
            shard_videos(
                workspace.client(client), layout.training_clips(data.dataset), sources, data, progress
            )
            add_client(workspace.federation(), client)
            advance(done, client)
        shard_videos(
            workspace.federation(),
            layout.evaluation_clips(data.dataset),
            videos.evaluation,
            data,
            progress,
        )
        advance(owner_count, "held-out clips")


def run_rounds(
    workspace: Workspace,
    record: RunRecord,
    *,
    runner: ClientRunner | None = None,
    on_round: OnRound = lambda record, evaluation: None,
    progress: Progress | None = None,
) -> None:
    """Runs the rounds of a run that have not ended.

    It can be stopped at any moment and called again. The final weights are the same as without a stop.

    Args:
        workspace: The stores, with the shards in them.
        record: The run's record.
        runner: Runs the clients; None trains them in this process.
        on_round: Called with the record of every round, also of rounds that had ended before, and with
            its evaluation if it has one.
        progress: Shows rounds, clients and steps.

    Raises:
        fedvsr.errors.FedVSRError: The run cannot continue. Its store holds every completed step.
    """
    progress = progress or Progress()
    runner = runner or InProcessRunner()
    store = workspace.federation()
    config = record.config
    with progress.stage("rounds", config.federation.rounds) as advance:
        for round_number in range(1, config.federation.rounds + 1):
            if not store.exists(layout.round_record(config.name, round_number)):
                train_round(workspace, record, round_number, runner, progress)
            finished = aggregate_round(store, record, round_number)
            evaluation = find_evaluation(store, config.name, round_number)
            if evaluation is None and is_evaluated(config, round_number):
                evaluation = evaluate_round(store, record, round_number, progress)
            on_round(finished, evaluation)
            advance(round_number, f"round {round_number}")


def _check_disjoint(videos: Videos) -> None:
    owners: dict[Path, str] = {}
    for owner, sources in [*videos.clients.items(), ("evaluation_videos", videos.evaluation)]:
        for video in sources:
            other = owners.setdefault(video.path.resolve(), owner)
            if other != owner:
                raise ConfigError(
                    "clients", str(video.path), f"{other} and {owner} may not have the same video"
                )
