"""A client whose model several processes train: one update, one clear failure, and no process left behind."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fedvsr.config.run import RunConfig
from fedvsr.errors import (
    ConfigError,
    NonFiniteLossError,
    ParallelTrainingError,
    ShardError,
    TrainingError,
)
from fedvsr.federation import layout
from fedvsr.federation.client import train as client_train
from fedvsr.federation.client.processes import process_count
from fedvsr.federation.client.task_folder import TaskFolder
from fedvsr.federation.client.train import train_client
from fedvsr.federation.records import ReportRecord
from fedvsr.federation.run.prepare import plan_round, prepare_run
from fedvsr.progress import LogProgress
from fedvsr.store.workspace import Workspace
from fedvsr.training.local import TrainingSummary
from fedvsr.weights import Array, load
from tests.unit.federation.odd_ranks import FOLDER_VARIABLE

MODELS = "tests.unit.federation.odd_ranks"


@dataclass
class Round:
    """A planned round of a run of its own."""

    workspace: Workspace
    config: RunConfig
    lines: list[str]

    def train(self, client: str = "ann") -> ReportRecord:
        store = self.workspace.federation()
        record = prepare_run(store, self.config)
        plan_round(store, record, 1)
        own, progress = self.workspace.client(client), LogProgress(self.lines.append)
        return train_client(store, own, record, 1, client, progress)

    @property
    def weights(self) -> dict[str, Array]:
        return load(self.workspace.federation().read(layout.update("test", 1, "ann")), "update")

    @property
    def client_state(self) -> dict[str, Array]:
        own = self.workspace.client("ann")
        (key,) = own.keys("runs/test/state/")
        return load(own.read(key), key)

    @property
    def written(self) -> set[str]:
        return {key.rpartition("/")[2] for key in self.workspace.federation().keys("runs/test/rounds/0001/")}


@pytest.fixture
def make_round(tmp_path, make_config, make_clip, write_clips):
    """Makes a round of clients with three clips each, in stores of its own."""
    numbers = iter(range(100))

    def make(model: str, clients: tuple[str, ...] = ("ann",), **settings: object) -> Round:
        root = tmp_path / f"round-{next(numbers)}"
        workspace = Workspace.under(str(root / "stores"))
        for client in clients:
            clips = {f"{client}-{index}": make_clip(index) for index in range(3)}
            write_clips(workspace.client(client), layout.training_clips("default"), clips, root)
        config = make_config(
            **{
                "model__name": f"{MODELS}:{model}",
                "model__options": {},
                "federation__clients": list(clients),
                "training__batch_size": 3,
                "training__learning_rate": 1e-3,
                **settings,
            }
        )
        return Round(workspace, config, [])

    return make


def test_two_processes_deliver_what_one_does_and_wait_for_a_slow_one(make_round):
    alone = make_round("Even", strategy__name="scaffold")
    # The first process has two of three patches. In "Slow" the other process is late.
    shared, slow = (
        make_round(model, strategy__name="scaffold", training__processes=2) for model in ("Even", "Slow")
    )
    report_alone, report = alone.train(), shared.train()
    assert report.loss == pytest.approx(report_alone.loss, rel=1e-6)
    assert (report.steps, report.samples, report.clips) == (2, 6, 3)
    assert (report_alone.device, report.device) == ("cpu", "2 × cpu")
    assert report.dataset_digest == report_alone.dataset_digest
    # Adam's steps have the size of the learning rate, 1e-3.
    for ours, theirs in (
        (shared.weights, alone.weights),
        (shared.client_state, alone.client_state),
    ):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert shared.lines == alone.lines
    assert shared.written == alone.written
    assert slow.train().update_digest == report.update_digest


def test_a_killed_process_is_one_failure_that_names_it(make_round):
    killed = make_round("Killed", training__processes=2)
    with pytest.raises(ParallelTrainingError) as caught:
        killed.train()
    assert str(caught.value).startswith(
        "client 'ann', round 1: rank 1 of 2 failed: it was killed by SIGKILL, as the system does when memory "
        "runs out; give the client more memory"
    )
    assert killed.lines[-1] == "its last error"
    # Nothing is delivered, so the round can be tried again.
    assert killed.written == {"plan.json"}


def test_missing_memory_in_one_process_is_one_failure_that_says_what_to_do(make_round):
    with pytest.raises(TrainingError) as caught:
        make_round("OutOfMemory", training__processes=2).train()
    assert str(caught.value) == (
        "client 'ann', round 1, rank 1 of 2: the memory of cpu ran out (CUDA out of memory); set "
        "training.accumulation or training.activation_checkpointing, or lower training.patch_size"
    )


@pytest.mark.parametrize(
    "error",
    [
        NonFiniteLossError(3, math.inf, ["a", "b"]),
        ConfigError("training.processes", 2, "it must be 1"),
        ShardError("a shard is damaged"),
    ],
)
def test_an_error_of_a_process_is_the_same_error_in_the_clients(tmp_path, error):
    folder = TaskFolder(tmp_path)
    folder.write_error(1, error)
    assert folder.read_error(0) is None
    again = folder.read_error(1).to_exception()
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_unexpected_error_of_a_process_keeps_its_traceback(tmp_path):
    folder = TaskFolder(tmp_path)
    try:
        raise ValueError("a mistake in the model")
    except ValueError as error:
        folder.write_error(0, error)
    found = folder.read_error(0)
    assert found.message == "ValueError: a mistake in the model"
    assert "test_an_unexpected_error" in found.details
    assert found.to_exception() is None


def test_no_process_outlives_the_one_that_started_it(make_round, tmp_path):
    endless = make_round("Endless", training__processes=2)
    store = endless.workspace.federation()
    plan_round(store, prepare_run(store, endless.config), 1)
    command = [sys.executable, "-m", "fedvsr", "client", "train", "--run", "test", "--round", "1"]
    client = subprocess.Popen(
        [*command, "--client", "ann"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "FEDVSR_FEDERATION_STORE": endless.workspace.federation_uri,
            "FEDVSR_CLIENT_STORE": endless.workspace.client_uri,
            "FEDVSR_ALLOW_MODELS": "tests",
            FOLDER_VARIABLE: str(tmp_path),
        },
    )
    try:
        wait_for(lambda: len(list(tmp_path.glob("process-*"))) == 2)
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    processes = [int(path.name.partition("-")[2]) for path in tmp_path.glob("process-*")]
    wait_for(lambda: not any(is_running(process) for process in processes))


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("settings", "gpus", "processes"),
    [
        ({}, 0, 1),
        ({}, 4, 1),
        ({"jobs": {"gpus": 1}}, 4, 1),
        ({"jobs": {"gpus": 4}}, 4, 4),
        # At most as many as the machine has: a site may have fewer than the federation asks for.
        ({"jobs": {"gpus": 4}}, 2, 2),
        ({"jobs": {"gpus": 4}}, 0, 1),
        # Another device than the GPUs is meant.
        ({"jobs": {"gpus": 4}, "training": {"device": "cpu"}}, 4, 1),
        ({"jobs": {"gpus": 4}, "training": {"device": "cuda:1"}}, 4, 1),
        ({"jobs": {"gpus": 4}, "training": {"processes": 3}}, 4, 3),
    ],
)
def test_the_number_of_processes(monkeypatch, settings, gpus, processes):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert process_count(RunConfig.parse({"name": "test", **settings})) == processes


def test_the_number_of_gpus_is_not_part_of_a_runs_identity_and_that_of_processes_is(workspace, make_config):
    store = workspace.federation()
    plain = prepare_run(store, make_config())
    assert prepare_run(store, make_config(jobs__gpus=4)).identity == plain.identity
    assert b"processes" not in plain.to_bytes()
    other = make_config(name="other")
    fixed = make_config(name="other", training__processes=2)
    identities = {plain.model_copy(update={"config": config}).identity for config in (other, fixed)}
    assert len(identities) == 2


def test_the_report_counts_the_steps_that_float16_left_out(make_round, monkeypatch):
    skipping = make_round("Even")
    summary = TrainingSummary(0.1, 2, 6, 1.0, skipped_steps=1)
    monkeypatch.setattr(client_train, "train_locally", lambda *_, **__: summary)
    report = skipping.train()
    assert report.skipped_steps == 1
    assert "2 steps (1 skipped)" in report.describe()
    assert skipping.lines[-1] == ("ann: 1 of 2 steps changed no weight: their float16 gradients overflowed")
    assert b"skipped_steps" not in report.model_copy(update={"skipped_steps": 0}).to_bytes()
