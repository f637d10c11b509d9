"""A full disk ends a command with one sentence, registers nothing, and the command can be run again."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact import local_artifact_repo

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import TrackingError
from fedvsr.federation import layout
from fedvsr.federation.runs import load_run
from fedvsr.tracking.connection import connect
from fedvsr.tracking.model_registry import download_model, register_run
from tests.unit.tiny_run import RUN

FEDVSR = "import sys; from fedvsr.cli.main import main; sys.argv[0] = 'fedvsr'; main()"


@pytest.fixture
def unregistered(copied):
    """The finished run without its version in the registry."""
    client = MlflowClient(copied.tracking_uri, registry_uri=copied.tracking_uri)
    client.delete_registered_model("fedvsr")
    copied.workspace.federation().delete(layout.registration(RUN))
    return copied


def files_of_models(run):
    return sorted(path for path in run.store.glob("mlartifacts/models/**/*") if path.is_file())


def fill_disk(monkeypatch):
    monkeypatch.setattr(
        local_artifact_repo, "shutil_copytree_without_file_permissions", full_after_some_files
    )


def versions(run):
    client = MlflowClient(run.tracking_uri, registry_uri=run.tracking_uri)
    return client.search_model_versions("name = 'fedvsr'")


def limit_files(kilobytes):
    """Makes a write beyond a size fail with an error of the system, in this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if kilobytes is None else kilobytes << 10, hard))


def check_nothing_was_registered(code, out, err, run, models):
    assert (code, out) == (1, "")
    assert err.startswith(f"error: MLflow at {run.tracking_uri} could not ")
    assert err.count("\n") == 1, err
    assert "disk I/O error; nothing is lost" in err
    assert "`fedvsr register`" in err
    assert versions(run) == []
    assert files_of_models(run) == models


def test_a_disk_that_is_full_for_the_first_change_of_the_database(unregistered, fedvsr):
    models, here = files_of_models(unregistered), ("--store", unregistered.store)
    limit_files(4)
    try:
        output = fedvsr("register", RUN, *here)
    finally:
        limit_files(None)
    check_nothing_was_registered(output.code, output.out, output.err, unregistered, models)
    assert fedvsr("register", RUN, *here).out == "fedvsr version 1 is round 2 of tiny: challenger\n"


def test_a_disk_that_is_full_while_the_model_is_stored(unregistered, fedvsr):
    """In a process of its own, whose standard error also has what MLflow logs."""
    models, here = files_of_models(unregistered), ("--store", str(unregistered.store))
    done = subprocess.run(
        [sys.executable, "-c", FEDVSR, "register", RUN, *here],
        preexec_fn=lambda: limit_files(100),
        capture_output=True,
        text=True,
        check=False,
    )
    check_nothing_was_registered(done.returncode, done.stdout, done.stderr, unregistered, models)
    assert fedvsr("register", RUN, *here).out == "fedvsr version 1 is round 2 of tiny: challenger\n"


def full_disk(*arguments, **keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_after_some_files(source, target):
    """Copies as MLflow does until the disk is full, and then fails as `shutil.copytree` does."""
    paths = sorted(path for path in Path(source).rglob("*") if path.is_file())
    for path in paths[:3]:
        copied = Path(target) / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
    failed = [(str(path), str(target), "[Errno 28] No space left on device") for path in paths[3:]]
    raise shutil.Error(failed)


def test_a_disk_that_is_full_for_the_model_keeps_nothing_of_it(unregistered, monkeypatch):
    connection, store = (
        connect(TrackingConfig(), str(unregistered.store)),
        unregistered.workspace.federation(),
    )
    record, before = load_run(store, RUN), files_of_models(unregistered)
    fill_disk(monkeypatch)
    with pytest.raises(TrackingError, match=r"store the model: .*No space left on device; ") as caught:
        register_run(connection, store, record, "fedvsr")
    assert len(str(caught.value)) < 500
    assert versions(unregistered) == []
    assert files_of_models(unregistered) == before
    monkeypatch.undo()
    assert register_run(connection, store, record, "fedvsr").model_version == "1"
    assert download_model(connection, "models:/fedvsr@challenger").record.run == RUN


def test_a_failure_deletes_no_model_of_an_earlier_version(copied, monkeypatch):
    """A model may be the champion's, and the same run may have stored it."""
    connection, store = connect(TrackingConfig(), str(copied.store)), copied.workspace.federation()
    record = load_run(store, RUN)
    fill_disk(monkeypatch)
    with pytest.raises(TrackingError):
        register_run(connection, store, record, "other")
    assert download_model(connection, "models:/fedvsr/1").record.run == RUN


@pytest.mark.parametrize(
    "call", ["create_registered_model", "create_model_version", "set_registered_model_alias"]
)
def test_a_registration_that_stops_at_any_call_is_finished_by_the_next(unregistered, monkeypatch, call):
    connection, store = (
        connect(TrackingConfig(), str(unregistered.store)),
        unregistered.workspace.federation(),
    )
    record = load_run(store, RUN)

    def fail(*arguments, **keywords):
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")

    monkeypatch.setattr(connection.client, call, fail)
    with pytest.raises(TrackingError, match="database or disk is full; nothing is lost"):
        register_run(connection, store, record, "fedvsr")
    assert not store.exists(layout.registration(RUN))
    monkeypatch.undo()
    assert register_run(connection, store, record, "fedvsr").model_version == "1"
    assert len(versions(unregistered)) == 1
    assert str(connection.client.get_model_version_by_alias("fedvsr", "challenger").version) == "1"


def test_a_full_disk_for_the_registration_record_or_temporary_files_is_one_sentence(
    unregistered, fedvsr, monkeypatch
):
    here = ("--store", unregistered.store)
    monkeypatch.setattr(os, "fsync", full_disk)
    output = fedvsr("register", RUN, *here)
    assert output.code == 1
    assert output.err.startswith("error: cannot write ")
    assert "No space left on device" in output.err
    assert output.err.count("\n") == 1
    monkeypatch.undo()
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    monkeypatch.setattr("fedvsr.tracking.model_registry._is_readable", lambda *arguments: False)
    output = fedvsr("register", RUN, *here)
    assert (output.code, output.err.count("\n")) == (1, 1)
    assert "No space left on device" in output.err
    monkeypatch.undo()
    assert fedvsr("register", RUN, *here).out == "fedvsr version 1 is round 2 of tiny: challenger\n"
