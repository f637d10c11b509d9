"""A whole federated run in one process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.errors import ConfigError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation, is_evaluated
from fedvsr.federation.owner.clips import shard_videos
from fedvsr.federation.owner.sources import LocalSource
from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.federation.run.clients import add_client
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.training_round import ClientRunner, train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace
from fedvsr.weights import Tensors

OnRound = Callable[[RoundRecord, EvaluationRecord | None], None]


@dataclass(frozen=True)
class Videos:
    """Where a federation's videos are on this machine.

    Attributes:
        clients: Each client's videos, by the client's name.
        evaluation: The held-out videos.
    """

    clients: Mapping[str, Sequence[LocalSource]]
    evaluation: Sequence[LocalSource]


def shard_all(
    workspace: Workspace, videos: Videos, data: DataConfig, progress: Progress | None = None
) -> None:
    """Makes the shards of every client and of the held-out clips; what is current is left alone.

    Raises:
        fedvsr.errors.ConfigError: Two clients have the same video, which are to be disjoint.
        fedvsr.errors.VideoError: A video cannot be used.
    """
    progress = progress or Progress()
    owners: dict[Path, str] = {}
    everybody = [*videos.clients.items(), ("evaluation_videos", videos.evaluation)]
    for owner, named in everybody:
        for video in named:
            other = owners.setdefault(video.path.resolve(), owner)
            if other != owner:
                raise ConfigError(
                    "clients", str(video.path), f"{other} and {owner} may not have the same video"
                )
    with progress.stage("shard", len(everybody)) as advance:
        for done, (client, found) in enumerate(videos.clients.items(), start=1):
            shard_videos(workspace.client(client), layout.training_clips(data.dataset), found, data, progress)
            add_client(workspace.federation(), client)
            advance(done, client)
        shard_videos(
            workspace.federation(),
            layout.evaluation_clips(data.dataset),
            videos.evaluation,
            data,
            progress,
        )
        advance(len(everybody), "held-out clips")


def run_rounds(
    workspace: Workspace,
    config: RunConfig,
    *,
    initial: Tensors | None = None,
    runner: ClientRunner | None = None,
    on_round: OnRound = lambda record, evaluation: None,
    progress: Progress | None = None,
) -> RunRecord:
    """Runs the rounds that are left of a run, or all of a new one.

    It can be stopped at any moment and called again: the final weights are those of a run that was
    never stopped.

    Args:
        workspace: The stores, with the shards in them.
        config: The run, with its clients.
        initial: Weights that a new run starts from; seeded random ones when None.
        runner: How the clients are run; in this process when None.
        on_round: Called with the record of every round, and its evaluation where it has one.
        progress: Shows rounds, clients and steps.

    Raises:
        fedvsr.errors.FedVSRError: The run cannot go on; its store is as the last whole step left it.
    """
    progress = progress or Progress()
    store = workspace.federation()
    record = prepare_run(store, config, initial)
    name, rounds = config.name, config.federation.rounds
    with progress.stage("rounds", rounds) as advance:
        for round_number in range(1, rounds + 1):
            if not store.exists(layout.round_record(name, round_number)):
                train_round(workspace, name, round_number, runner or InProcessRunner(), progress)
            finished = aggregate_round(store, record, round_number)
            evaluation = find_evaluation(store, name, round_number)
            if evaluation is None and is_evaluated(config, round_number):
                evaluation = evaluate_round(store, name, round_number, progress)
            on_round(finished, evaluation)
            advance(round_number, f"round {round_number}")
    return record
