"""`fedvsr client`: what a Job's container runs, and what Kubernetes learns of its end."""

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
def last_word(tmp_path, monkeypatch):
    """The file that Kubernetes reads when the container has ended."""
    path = tmp_path / "termination-log"
    path.write_text("")
    monkeypatch.setattr("fedvsr.cli.client.TERMINATION_LOG", path)
    return path


@pytest.fixture
def site(workspace, give_clips, make_config, monkeypatch, last_word):
    """Two clients' stores and a planned round, as the environment of their containers names them."""
    give_clips({"ann": 1, "bob": 1})
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)

    def plan(**overrides):
        store = workspace.federation()
        return plan_round(store, prepare_run(store, make_config(**overrides)), 1)

    return plan


def test_a_client_delivers(site, workspace, last_word):
    site()
    output = run_command(*TRAIN, "ann")
    assert output.code == 0, output.err
    assert "train: 2/2 loss" in output.out
    report = read_record(workspace.federation(), layout.report("test", 1, "ann"), ReportRecord)
    assert f"delivered: loss {report.loss:.4f}, 2 steps" in output.out
    assert last_word.read_text() == ""


def test_what_another_try_cannot_mend_ends_with_its_own_code(site, last_word, workspace):
    site()
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
        assert message in last_word.read_text()
        assert "\n" not in last_word.read_text()


def test_what_may_pass_is_tried_again(site, last_word, monkeypatch):
    site()

    def away(*arguments):
        raise StoreError("the server does not answer\nat all")

    monkeypatch.setattr("fedvsr.federation.client.train_client", away)
    output = run_command(*TRAIN, "ann")
    assert (output.code, last_word.read_text()) == (1, "the server does not answer at all")


def test_what_nobody_foresaw_is_shown_where_it_happened(site, last_word, monkeypatch):
    site()
    monkeypatch.setattr("fedvsr.federation.client.train_client", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_command(*TRAIN, "ann")
    assert last_word.read_text().startswith("ZeroDivisionError")


def test_outside_a_pod_there_is_no_last_word(site, last_word):
    site()
    last_word.unlink()
    assert run_command(*TRAIN, "eve").code == 65
    assert not last_word.exists()


def test_a_long_last_word_fits_what_kubernetes_takes(site, last_word, monkeypatch):
    site()

    def fail(*arguments):
        raise StoreError("λ" * 100_000)

    monkeypatch.setattr("fedvsr.federation.client.train_client", fail)
    run_command(*TRAIN, "ann")
    assert len(last_word.read_bytes()) <= 4096


def test_a_client_that_is_told_to_stop_does(site, last_word, monkeypatch):
    site()
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        "fedvsr.federation.client.train_client",
        lambda *arguments: (os.kill(os.getpid(), signal.SIGTERM), threading.Event().wait(20)),
    )
    assert run_command(*TRAIN, "ann").code == 143
    assert last_word.read_text() == "told to stop"
    assert signal.getsignal(signal.SIGTERM) is before


REFERENCE = "fedvsr.models.fastvsr:FastVSR"


@pytest.mark.parametrize(("allowed", "code"), [("", 65), ("other, fedvsr.model", 65), ("other, fedvsr", 0)])
def test_a_server_cannot_make_a_client_import_what_it_has_not_allowed(site, monkeypatch, allowed, code):
    site(model__name=REFERENCE)
    monkeypatch.setenv("FEDVSR_ALLOW_MODELS", allowed)
    output = run_command(*TRAIN, "ann")
    assert output.code == code
    if code:
        assert f"model.name: '{REFERENCE}' is not allowed" in output.err
        assert "FEDVSR_ALLOW_MODELS" in output.err


def test_of_its_shards_a_site_tells_sizes_and_a_digest(site, last_word):
    site()
    output = run_command("client", "shard", "--run", "test", "--client", "ann")
    assert output.code == 0, output.err
    summary = json.loads(last_word.read_text())
    assert set(summary) == {"version", "clips", "frames", "bytes", "digest"}
    assert (summary["clips"], summary["frames"]) == (1, 6)


def test_a_site_looks_at_itself(site, last_word, workspace):
    site()
    output = run_command("client", "check", "--client", "ann", "--must-not-reach", "127.0.0.1:1")
    assert output.code == 0, output.err
    findings = {each["what"]: each["problem"] for each in json.loads(last_word.read_text())["findings"]}
    assert findings["0 videos, 2 kinds of shards"] == ""
    assert findings["127.0.0.1:1 cannot be reached"] == ""
    output = run_command("client", "check", "--client", "eve")
    assert "nothing to train on; put videos there" in output.out
