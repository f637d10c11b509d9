"""Runs a round's clients, and makes their shards, in worker processes of this machine."""

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.errors import StoreError
from fedvsr.federation import layout
from fedvsr.federation.client.secure_delivery import SecureDelivery
from fedvsr.federation.client.train import begin_secure_delivery, train_client
from fedvsr.federation.delivery import find_delivery
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import LocalVideo
from fedvsr.federation.records import ClientOutcome, Outcome, PlanRecord, RunRecord
from fedvsr.federation.run.local_clients import LocalClients
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.training_round import PartRunner
from fedvsr.federation.run.worker_pool import TaskEnd, WorkerPool
from fedvsr.federation.run.worker_process import Task
from fedvsr.federation.shard_records import Manifests
from fedvsr.progress import Advance, Progress
from fedvsr.store.workspace import Workspace

# The first step allocates the optimiser's moments after its peak, the second one has both.
_SETTLED_STEP = 2


def open_pool(workers: int | None, config: RunConfig) -> WorkerPool:
    """Returns a pool for a run. Close it at the end.

    A worker uses as many CPU threads as one process would that trains the clients one after the other, so
    the weights are the same bytes.

    Args:
        workers: How many clients train at once, at most; None for one per ``training.threads`` cores. There
            are fewer if the memory is too small, or the round has fewer clients.
        config: The run.
    """
    threads = config.training.threads or torch.get_num_threads()
    if workers is None:
        workers = max(1, len(os.sched_getaffinity(0)) // threads)
    return WorkerPool(workers, threads)


class WorkerProcesses(PartRunner):
    """Runs clients side by side, each in a worker process.

    A client that fails, or whose worker dies, gets the outcome ``failed``. A client that has not delivered at
    the deadline gets ``timed-out``. With secure aggregation, the workers train; what the clients then say to
    each other is said in this process.

    Args:
        pool: The workers.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        clients = LocalClients(part)
        deliveries: dict[str, SecureDelivery] = {}
        deadline = time.monotonic() + part.plan.deadline_seconds
        tasks = [
            Task(client, partial(_train, part.workspace, part.record, part.plan, client), _SETTLED_STEP)
            for client in part.clients
        ]
        with part.progress.stage("clients", len(tasks)) as advance:

            def conclude(end: TaskEnd) -> None:
                _conclude(clients, deliveries, end)
                advance(next(numbers), _describe(end))

            numbers = itertools.count(1)
            self._pool.run("training", tasks, part.progress, conclude, deadline)
            clients.exchange({client: deliveries[client] for client in part.clients if client in deliveries})
        return clients.outcomes


def _train(
    workspace: Workspace, record: RunRecord, plan: PlanRecord, client: str, progress: Progress
) -> float | None:
    """Trains a client, in a worker. Returns its loss, or None with secure aggregation."""
    federation, own = workspace.federation(), workspace.client(client)
    if record.config.privacy.secure_aggregation:
        begin_secure_delivery(federation, own, record, plan, client, progress)
        return None
    return train_client(federation, own, record, plan.round, client, progress).loss


def _conclude(clients: LocalClients, deliveries: dict[str, SecureDelivery], end: TaskEnd) -> None:
    """Records what became of a client. A worker may have died after the client had delivered."""
    part, client = clients.part, end.task.name
    clients.add_seconds(client, end.seconds)
    if end.error is not None:
        clients.fail(client, str(end.error) or type(end.error).__name__)
    elif end.is_late and not end.was_begun:
        clients.conclude(client, Outcome.TIMED_OUT, part.late_reason("before its turn"))
    elif part.record.config.privacy.secure_aggregation:
        federation, own = part.workspace.federation(), part.workspace.client(client)
        delivery = SecureDelivery(federation, own, part.record, part.plan, client)
        if delivery.is_trained or delivery.is_finished:
            deliveries[client] = delivery
        else:
            _conclude_lost(clients, end)
    elif end.is_complete or find_delivery(part.workspace.federation(), part.plan, client):
        clients.deliver(client)
    else:
        _conclude_lost(clients, end)


def _conclude_lost(clients: LocalClients, end: TaskEnd) -> None:
    client = end.task.name
    if end.is_late:
        clients.conclude(client, Outcome.TIMED_OUT, clients.part.late_reason("before it had delivered"))
    else:
        clients.fail(client, end.lost)


def _describe(end: TaskEnd) -> str:
    if not end.is_complete:
        return f"{end.task.name} {'is late' if end.is_late else 'failed'}"
    return f"{end.task.name} trained" if end.result is None else f"{end.task.name} loss {end.result:.4f}"


def shard_in_workers(
    pool: WorkerPool,
    workspace: Workspace,
    videos: Mapping[str, Sequence[LocalVideo]],
    data: DataConfig,
    progress: Progress,
    advance: Advance,
) -> dict[str, Manifests]:
    """Makes the shards of clients side by side.

    Args:
        pool: The workers.
        workspace: The stores.
        videos: Each client's videos.
        data: How to cut and degrade.
        progress: Reports progress per video.
        advance: Told of each client that has ended.

    Returns:
        Each client's manifests.

    Raises:
        fedvsr.errors.FedVSRError: As `fedvsr.federation.owner.shards.shard_videos`, of the client that failed
            first.
        fedvsr.errors.StoreError: A worker died; run it again to continue.
    """
    manifests: dict[str, Manifests] = {}

    def conclude(end: TaskEnd) -> None:
        if end.error is not None:
            raise end.error
        if end.lost:
            raise StoreError(f"client {end.task.name}: its shards were not made: {end.lost}")
        manifests[end.task.name] = end.result
        advance(len(manifests), end.task.name)

    folder = layout.training_clips(data.dataset)
    tasks = [
        Task(client, partial(_shard, workspace, folder, client_videos, data, client))
        for client, client_videos in videos.items()
    ]
    pool.run("sharding", tasks, progress, conclude)
    return {client: manifests[client] for client in videos}


def _shard(
    workspace: Workspace,
    folder: str,
    videos: Sequence[LocalVideo],
    data: DataConfig,
    client: str,
    progress: Progress,
) -> Manifests:
    return shard_videos(workspace.client(client), folder, videos, data, client, progress)
