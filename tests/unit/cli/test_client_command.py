"""`fedvsr client`: what a Job's container runs, its exit codes and its termination message."""

import json
import os
import signal
import threading

import pytest

from fedvsr.errors import StoreError
from fedvsr.federation import layout
from fedvsr.federation.records import ReportRecord, read_record
from fedvsr.federation.run.prepare import plan_round, prepare_run
from tests.unit.tiny_run import run_command

TRAIN = ("client", "train", "--run", "test", "--round", 1, "--client")


@pytest.fixture
def termination_message(tmp_path, monkeypatch):
    """Returns the file that Kubernetes reads when the container has ended."""
    path = tmp_path / "termination-log"
    path.write_text("")
    monkeypatch.setattr("fedvsr.cli.client.TERMINATION_LOG", path)
    return path


@pytest.fixture
def make_plan(workspace, give_clips, make_config, monkeypatch, termination_message):
    """Prepares two clients' stores in the environment of their containers; returns how to plan a round."""
    give_clips({"ann": 1, "bob": 1})
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)

    def plan(**overrides):
        store = workspace.federation()
        return plan_round(store, prepare_run(store, make_config(**overrides)), 1)

    return plan


def test_a_client_delivers(make_plan, workspace, termination_message):
    make_plan()
    output = run_command(*TRAIN, "ann")
    assert output.code == 0, output.err
    assert "train: 2/2 loss" in output.out
    report = read_record(workspace.federation(), layout.report("test", 1, "ann"), ReportRecord)
    assert f"delivered: loss {report.loss:.4f}, 2 steps" in output.out
    assert termination_message.read_text() == ""


def test_a_pod_of_an_indexed_job_works_for_the_client_at_its_index(
    make_plan, workspace, monkeypatch, termination_message
):
    make_plan()
    train = (*TRAIN[:-1], "--clients", "ann,bob")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert run_command(*train).code == 0
    assert workspace.federation().exists(layout.report("test", 1, "bob"))
    assert not workspace.federation().exists(layout.report("test", 1, "ann"))
    for index in ("2", "-1", ""):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
        output = run_command(*train)
        assert output.code not in (0, 1)
        assert "JOB_COMPLETION_INDEX" in output.err
    assert run_command(*TRAIN, "ann", "--clients", "ann,bob").code == 2


def test_a_permanent_failure_has_its_own_exit_code(make_plan, termination_message, workspace):
    make_plan()
    for key in list(workspace.client("ann").keys("shards/")):
        workspace.client("ann").write(key, b"{")
    for arguments, message in (
        ((*TRAIN, "ann"), "manifest"),
        ((*TRAIN, "eve"), "is not in the plan"),
        (("client", "train", "--run", "other", "--round", 1, "--client", "ann"), "unknown run"),
        (("client", "shard", "--run", "test", "--client", "eve"), "holds no video"),
    ):
        output = run_command(*arguments)
        assert output.code == 65, output
        assert message in output.err
        assert message in termination_message.read_text()
        assert "\n" not in termination_message.read_text()


def test_a_failure_that_may_pass_has_exit_code_1(make_plan, termination_message, monkeypatch):
    make_plan()

    def fail(*arguments):
        raise StoreError("the server does not answer\nat all")

    monkeypatch.setattr("fedvsr.federation.client.train.train_client", fail)
    output = run_command(*TRAIN, "ann")
    assert (output.code, termination_message.read_text()) == (1, "the server does not answer at all")


def test_an_unexpected_error_shows_its_traceback(make_plan, termination_message, monkeypatch):
    make_plan()
    monkeypatch.setattr("fedvsr.federation.client.train.train_client", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_command(*TRAIN, "ann")
    assert termination_message.read_text().startswith("ZeroDivisionError")


def test_outside_a_pod_no_termination_message_is_written(make_plan, termination_message):
    make_plan()
    termination_message.unlink()
    assert run_command(*TRAIN, "eve").code == 65
    assert not termination_message.exists()


def test_a_long_termination_message_is_cut_to_the_limit_of_kubernetes(
    make_plan, termination_message, monkeypatch
):
    make_plan()

    def fail(*arguments):
        raise StoreError("λ" * 100_000)

    monkeypatch.setattr("fedvsr.federation.client.train.train_client", fail)
    run_command(*TRAIN, "ann")
    assert len(termination_message.read_bytes()) <= 4096


def test_a_client_stops_on_sigterm(make_plan, termination_message, monkeypatch):
    make_plan()
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        "fedvsr.federation.client.train.train_client",
        lambda *arguments: (os.kill(os.getpid(), signal.SIGTERM), threading.Event().wait(20)),
    )
    assert run_command(*TRAIN, "ann").code == 143
    assert termination_message.read_text() == "told to stop"
    assert signal.getsignal(signal.SIGTERM) is before


REFERENCE = "fedvsr.models.fastvsr:FastVSR"


@pytest.mark.parametrize(("allowed", "code"), [("", 65), ("other, fedvsr.model", 65), ("other, fedvsr", 0)])
def test_a_server_cannot_make_a_client_import_a_forbidden_package(make_plan, monkeypatch, allowed, code):
    make_plan(model__name=REFERENCE)
    monkeypatch.setenv("FEDVSR_ALLOW_MODELS", allowed)
    output = run_command(*TRAIN, "ann")
    assert output.code == code
    if code:
        assert f"model.name: '{REFERENCE}' is not allowed" in output.err
        assert "FEDVSR_ALLOW_MODELS" in output.err


def test_a_client_reports_only_the_sizes_and_a_digest_of_its_shards(make_plan, termination_message):
    make_plan()
    output = run_command("client", "shard", "--run", "test", "--client", "ann")
    assert output.code == 0, output.err
    summary = json.loads(termination_message.read_text())
    assert set(summary) == {"version", "clips", "frames", "bytes", "digest"}
    assert (summary["clips"], summary["frames"]) == (1, 6)


def test_a_client_checks_itself(make_plan, termination_message, workspace):
    make_plan()
    output = run_command("client", "check", "--client", "ann", "--must-not-reach", "127.0.0.1:1")
    assert output.code == 0, output.err
    findings = {
        item["what"]: item["problem"] for item in json.loads(termination_message.read_text())["findings"]
    }
    assert findings["0 videos, 2 kinds of shards"] == ""
    assert findings["127.0.0.1:1 cannot be reached"] == ""
    output = run_command("client", "check", "--client", "eve")
    assert "nothing to train on; put videos there" in output.out
