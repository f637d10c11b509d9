"""Drives a run's rounds from one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation, is_evaluated
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import FederationVideos, LocalVideo, Video
from fedvsr.federation.privacy_budget import describe_budget, planned_rounds
from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.federation.run.clients import add_client
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.training_round import ClientRunner, train_round
from fedvsr.federation.run.worker_pool import WorkerPool
from fedvsr.federation.run.worker_processes import shard_in_workers
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.federation.shard_records import Manifests
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace

OnRound = Callable[[RoundRecord, EvaluationRecord | None], None]


@dataclass(frozen=True)
class FederationShards:
    """The manifests of a federation's shards.

    Attributes:
        clients: Those of each client, by the client's name.
        held_out: Those of the held-out clips.
    """

    clients: Mapping[str, Manifests]
    held_out: Manifests


def shard_all(
    workspace: Workspace,
    videos: FederationVideos,
    data: DataConfig,
    progress: Progress | None = None,
    pool: WorkerPool | None = None,
) -> FederationShards:
    """Makes the shards of every client and of the held-out clips. Current shards are kept.

    Args:
        workspace: The stores.
        videos: The videos.
        data: How to cut and degrade.
        progress: Reports progress per client and video.
        pool: Makes the clients' shards side by side; None makes them in this process.

    Raises:
        fedvsr.errors.ConfigError: Two owners have the same video.
        fedvsr.errors.VideoError: No video of an owner can be used.
    """
    progress = progress or Progress()
    clients = shard_clients(workspace, videos, data, progress, pool)
    for client in clients:
        add_client(workspace.federation(), client)
    folder = layout.held_out_clips(data.dataset)
    held_out = shard_videos(workspace.federation(), folder, videos.held_out, data, layout.HELD_OUT, progress)
    return FederationShards(clients, held_out)


def shard_clients(
    workspace: Workspace,
    videos: FederationVideos,
    data: DataConfig,
    progress: Progress,
    pool: WorkerPool | None = None,
) -> dict[str, Manifests]:
    """Makes the shards of every client; see `shard_all`. Returns the clients' manifests."""
    _check_disjoint(videos)
    clients: dict[str, Manifests] = {}
    with progress.stage("shard", len(videos.clients)) as advance:
        if pool:
            return shard_in_workers(pool, workspace, videos.clients, data, progress, advance)
        for done, (client, client_videos) in enumerate(videos.clients.items(), start=1):
            folder = layout.training_clips(data.dataset)
            store = workspace.client(client)
            clients[client] = shard_videos(store, folder, client_videos, data, client, progress)
            advance(done, client)
    return clients


def run_rounds(
    workspace: Workspace,
    record: RunRecord,
    *,
    runner: ClientRunner | None = None,
    on_round: OnRound = lambda record, evaluation: None,
    progress: Progress | None = None,
) -> None:
    """Runs the rounds of a run that have not ended.

    The call may be stopped at any moment and repeated. The final weights are the same as without a stop.

    Args:
        workspace: The stores, with the shards in them.
        record: The run's record.
        runner: Runs the clients; None trains them in this process.
        on_round: Called with the record of every round, also of rounds that had already ended, and with
            the round's evaluation if there is one.
        progress: Reports progress per round, client and step.

    Raises:
        fedvsr.errors.FedVSRError: The run cannot continue. Its store holds every completed step.
    """
    progress = progress or Progress()
    runner = runner or InProcessRunner()
    store = workspace.federation()
    config = record.config
    rounds = planned_rounds(config)
    with progress.stage("rounds", rounds) as advance:
        for round_number in range(1, rounds + 1):
            if not store.exists(layout.round_record(config.name, round_number)):
                train_round(workspace, record, round_number, runner, progress)
            round_record = aggregate_round(store, record, round_number)
            for change in round_record.data_changes:
                progress.message(f"round {round_number}: {change}")
            for limit in round_record.limits:
                progress.message(f"round {round_number}: {limit}")
            evaluation = find_evaluation(store, config.name, round_number)
            if evaluation is None and is_evaluated(config, round_number):
                evaluation = evaluate_round(store, record, round_number, progress)
            on_round(round_record, evaluation)
            advance(round_number, f"round {round_number}")
    ending = describe_budget(config)
    if ending:
        progress.message(f"the run ends after round {rounds}: {ending}")


def _check_disjoint(videos: FederationVideos) -> None:
    """Refuses a video that two owners have; they may have different frames of it."""
    owners: dict[Path, list[tuple[str, LocalVideo]]] = {}
    for owner, owner_videos in [*videos.clients.items(), ("evaluation_videos", videos.held_out)]:
        for video in owner_videos:
            known = owners.setdefault(video.path.resolve(), [])
            for other, other_video in known:
                if other != owner and _overlap(video, other_video):
                    raise ConfigError(
                        "clients", str(video.path), f"{other} and {owner} may not have the same video"
                    )
            known.append((owner, video))


def _overlap(one: Video, other: Video) -> bool:
    """Returns whether two parts of a video have a frame in common."""
    ends_before = one.stop_frame is not None and one.stop_frame <= other.first_frame
    begins_after = other.stop_frame is not None and other.stop_frame <= one.first_frame
    return not ends_before and not begins_after
