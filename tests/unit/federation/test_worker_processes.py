"""Clients in worker processes: the same bytes as in one process, and the same outcomes if something fails."""

import multiprocessing
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedvsr.config.run import DataConfig
from fedvsr.errors import VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.videos import FederationVideos, local_videos
from fedvsr.federation.records import Outcome
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds, shard_all
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.run.worker_pool import TaskEnd, WorkerPool
from fedvsr.federation.run.worker_processes import WorkerProcesses, open_pool
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace
from tests.unit.tiny_run import write_video

RUN = "test"
CLIENTS = ("ann", "bob", "cleo", "dan")


@pytest.fixture
def fresh(workspace, give_clips, tmp_path):
    """Copies a workspace of four clients, which has shards and no run."""
    give_clips({client: number for number, client in enumerate(CLIENTS, start=1)})
    root = Path(workspace.federation_uri).parent

    def copy(name):
        shutil.copytree(root, tmp_path / name)
        return Workspace.under(str(tmp_path / name))

    return copy


@pytest.fixture
def config(make_config):
    def make(**settings):
        return make_config(federation__clients=list(CLIENTS), **settings)

    return make


def objects(workspace, *endings):
    store = workspace.federation()
    return {key: store.read(key) for key in store.keys("runs/") if key.endswith(endings)}


def run_one_round(workspace, config, workers, progress=None):
    record = prepare_run(workspace.federation(), config)
    with WorkerPool(workers, 1) as pool:
        result = train_round(workspace, record, 1, WorkerProcesses(pool), progress)
    assert multiprocessing.active_children() == []
    return {entry.client: entry for entry in result.outcomes}


def assert_same_bytes(fresh, settings, numbers, endings):
    """Compares the objects of a run in one process with those of runs in workers."""
    alone = fresh("alone")
    run_rounds(alone, prepare_run(alone.federation(), settings))
    expected = objects(alone, *endings)
    assert layout.global_weights(RUN, 2) in expected
    for workers in numbers:
        workspace = fresh(f"{workers} workers")
        record = prepare_run(workspace.federation(), settings)
        with WorkerPool(workers, 1) as pool:
            run_rounds(workspace, record, runner=WorkerProcesses(pool))
        assert objects(workspace, *endings) == expected


def test_the_same_bytes_for_every_number_of_workers(fresh, config):
    # Every client has a state of its own that the next round needs.
    assert_same_bytes(fresh, config(strategy__name="scaffold"), (1, 2, 3), (".safetensors", "plan.json"))


def test_the_same_bytes_with_secure_aggregation(fresh, config):
    secure = {"privacy__secure_aggregation": True, "communication__upload": "int8"}
    # The masks of the updates are random; they cancel in the sum.
    assert_same_bytes(fresh, config(federation__quorum=3, **secure), (2,), ("global.safetensors",))


def test_a_client_that_fails_is_told_as_in_one_process(fresh, config):
    alone, workspace = fresh("alone"), fresh("workers")
    for store in (alone.client("bob"), workspace.client("bob")):
        shard = next(key for key in store.keys("shards/") if key.endswith(".safetensors"))
        store.write(shard, store.read(shard)[:100])
    record = prepare_run(alone.federation(), config())
    expected = {entry.client: entry for entry in train_round(alone, record, 1, InProcessRunner()).outcomes}
    outcomes = run_one_round(workspace, config(), 2)
    assert [entry.outcome for entry in outcomes.values()] == [
        Outcome.OK,
        Outcome.FAILED,
        Outcome.OK,
        Outcome.OK,
    ]
    one, other = alone.client("bob").uri, workspace.client("bob").uri
    assert outcomes["bob"].reason == expected["bob"].reason.replace(one, other)
    assert all(entry.seconds > 0 for entry in outcomes.values())


class KillTheWorkerOf(Progress):
    """Kills the only worker when a client has begun to train in it."""

    def __init__(self, client):
        self._client, self.lines = client, []

    @contextmanager
    def stage_beside(self, label, total=None):
        if label == f"{self._client} › train":
            (worker,) = multiprocessing.active_children()
            worker.kill()
        yield lambda done, text: None

    def message(self, text):
        self.lines.append(text)


@pytest.mark.parametrize("secure", [False, True])
def test_a_client_whose_worker_is_killed_has_failed_and_the_others_train(fresh, config, secure):
    progress = KillTheWorkerOf("bob")
    settings = {"privacy__secure_aggregation": True, "communication__upload": "int8"} if secure else {}
    # Long enough that the worker is killed before it has trained.
    outcomes = run_one_round(
        fresh("killed"), config(training__local_steps=100, federation__quorum=3, **settings), 1, progress
    )
    reason = "the process was killed; perhaps memory ran out: fewer --workers need less"
    assert {client: entry.outcome for client, entry in outcomes.items()} == {
        "ann": Outcome.OK,
        "bob": Outcome.FAILED,
        "cleo": Outcome.OK,
        "dan": Outcome.OK,
    }
    assert outcomes["bob"].reason == reason
    assert progress.lines == [f"client bob: {reason}"]


def test_clients_that_have_not_delivered_at_the_deadline_are_timed_out(fresh, config):
    settings = config(training__local_steps=10**6, federation__deadline_seconds=1)
    outcomes = run_one_round(fresh("late"), settings, 1)
    assert {entry.outcome for entry in outcomes.values()} == {Outcome.TIMED_OUT}
    assert outcomes["ann"].reason == "the round's 1 s were over before it had delivered"
    assert outcomes["dan"].reason == "the round's 1 s were over before its turn"


class DeadWorkers:
    """Stands for a pool whose workers die at the end of each task."""

    def run(self, kind, tasks, progress, on_end, deadline=None):
        for task in tasks:
            on_end(TaskEnd(task, lost="it was killed"))


def test_a_client_that_had_delivered_when_its_worker_died_has_delivered(fresh, config):
    workspace = fresh("delivered")
    record = prepare_run(workspace.federation(), config())
    runner = WorkerProcesses(DeadWorkers())
    outcomes = train_round(workspace, record, 1, runner).outcomes
    assert {(entry.outcome, entry.reason) for entry in outcomes} == {(Outcome.FAILED, "it was killed")}
    train_round(workspace, record, 1, InProcessRunner())
    assert {entry.outcome for entry in train_round(workspace, record, 1, runner).outcomes} == {Outcome.OK}


def test_shards_made_in_workers_are_those_of_one_process(tmp_path):
    for number, client in enumerate(CLIENTS):
        write_video(tmp_path / client / "video.avi", number)
    clients = {client: local_videos(tmp_path / client) for client in CLIENTS}
    write_video(tmp_path / "held-out.avi", 9)
    videos = FederationVideos(clients, local_videos(tmp_path / "held-out.avi"))
    data = DataConfig(scale=2, minimum_frames=3, split_shots=False)
    alone = shard_all(Workspace.under(str(tmp_path / "alone")), videos, data)
    with WorkerPool(2, 1) as pool:
        assert shard_all(Workspace.under(str(tmp_path / "workers")), videos, data, pool=pool) == alone
        broken = tmp_path / "bob/video.avi"
        broken.write_bytes(b"no video")
        with pytest.raises(VideoError, match="bob"):
            shard_all(Workspace.under(str(tmp_path / "again")), videos, data, pool=pool)


def test_auto_is_a_worker_per_threads_cores(config, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for threads, workers in ((1, 8), (3, 2), (16, 1)):
        assert open_pool(None, config(training__threads=threads)).size == workers
    assert open_pool(5, config(training__threads=3)).size == 5
