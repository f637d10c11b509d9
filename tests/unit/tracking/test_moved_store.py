"""A store that was moved or copied works at its new place, and only there."""

import contextlib
import os
import shutil
import sqlite3

import pytest
from mlflow import MlflowClient

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import InputError, TrackingError
from fedvsr.experiment.stored import moved_experiment
from fedvsr.federation.runs import load_run
from fedvsr.models.state import state_of
from fedvsr.report.summary import summarise_run
from fedvsr.tracking import model_registry
from fedvsr.tracking.connection import connect
from fedvsr.tracking.model_registry import download_model, register_run
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.sqlite import database_path, sqlite_uri
from fedvsr.weights import serialize
from tests.unit.tiny_run import RUN, FinishedRun


def files_below(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def locations(store):
    """Returns every artifact location in the database of a store, without MLflow's own experiment."""
    columns = ("experiments.artifact_location", "runs.artifact_uri", "logged_models.artifact_location")
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database:
        rows = [
            location
            for table, column in (name.split(".") for name in columns)
            for (location,) in database.execute(f"SELECT {column} FROM {table}")
        ]
    return [location for location in rows if "mlruns" not in location]


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, made as `cp -r` makes it: its database names the original's artifacts."""
    store = tmp_path / "copy"
    shutil.copytree(finished.store, store)
    return FinishedRun(store, finished.config, finished.output)


@pytest.fixture
def moved(copied, tmp_path):
    """A store at a new place. The old place is gone."""
    store = tmp_path / "far" / "moved"
    store.parent.mkdir()
    copied.store.rename(store)
    return FinishedRun(store, copied.config, copied.output)


def test_a_moved_store_is_corrected_once_and_tells_of_it(moved, copied, caplog):
    home = moved.store / "mlartifacts"
    connect(TrackingConfig(), str(moved.store))
    assert all(location.startswith(home.as_uri()) for location in locations(moved.store))
    assert caplog.messages == [
        f"MLflow's artifacts are in {home} now, and were in {copied.store}/mlartifacts"
    ]
    caplog.clear()
    connect(TrackingConfig(), str(moved.store))
    assert caplog.messages == []


def test_every_command_works_in_a_moved_store(moved, copied, fedvsr, videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = ("--store", moved.store)
    assert (
        fedvsr("upscale", videos / "held-out/clip.avi", "a.mkv", "--model", "models:/fedvsr/1", *here).code
        == 0
    )
    assert fedvsr("register", RUN, *here).out == "fedvsr version 1 is round 2 of tiny: challenger\n"
    assert "version 1 is champion" in fedvsr("promote", "--threshold", -99, *here).out
    assert fedvsr("report", RUN, *here).code == 0
    output = fedvsr("resume", RUN, *here)
    assert (output.code, output.err) == (0, "")
    assert fedvsr("upscale", videos / "held-out/clip.avi", "b.mkv", *here).code == 0
    assert not copied.store.exists()


def test_a_copy_does_not_write_into_the_original(copy, finished, fedvsr):
    before = files_below(finished.store)
    output = fedvsr("run", copy.config, "--store", copy.store, "--rounds", 3)
    assert output.code == 0, output.err
    assert files_below(finished.store) == before
    assert len(MlflowClient(copy.tracking_uri).search_model_versions("name = 'fedvsr'")) >= 1
    trained = download_model(connect(TrackingConfig(), str(copy.store)), "models:/fedvsr@challenger")
    assert serialize(state_of(trained.network)) in {copy.weights(number) for number in (2, 3)}


def test_a_link_to_a_store_is_not_a_move(copied, tmp_path, caplog):
    link = tmp_path / "link"
    link.symlink_to(copied.store, target_is_directory=True)
    before = locations(copied.store)
    assert download_model(connect(TrackingConfig(), str(link)), "models:/fedvsr/1")
    assert (locations(copied.store), caplog.messages) == (before, [])


def test_a_database_that_was_copied_alone_says_what_to_copy(copied, tmp_path):
    alone = tmp_path / "al one"
    alone.mkdir()
    shutil.copy(copied.store / "mlflow.db", alone)
    before = files_below(tmp_path)
    with pytest.raises(InputError) as caught:
        connect(TrackingConfig(), str(alone))
    command = f"cp -r {copied.store}/mlartifacts/. '{alone}/mlartifacts'"
    assert str(caught.value).endswith(f"copy them: {command}")
    assert files_below(tmp_path) == before
    assert os.system(command) == 0
    assert download_model(connect(TrackingConfig(), str(alone)), "models:/fedvsr/1")


def test_a_database_whose_artifacts_are_gone_says_where_to_put_them(copied, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (copied.store / "mlflow.db").rename(alone / "mlflow.db")
    (copied.store / "mlartifacts").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"does not exist; move that folder to {alone}/mlartifacts"):
        connect(TrackingConfig(), str(alone))
    (tmp_path / "elsewhere").rename(alone / "mlartifacts")
    assert download_model(connect(TrackingConfig(), str(alone)), "models:/fedvsr/1")


def test_a_moved_store_without_models_continues(store, tmp_path, finished):
    connection = connect(TrackingConfig(), str(store))
    RunTracker(connection, load_run(finished.workspace.federation(), RUN))
    moved = tmp_path / "moved"
    store.rename(moved)
    connect(TrackingConfig(), str(moved))
    assert all(location.startswith((moved / "mlartifacts").as_uri()) for location in locations(moved))
    assert not store.exists()


def test_the_locations_of_other_experiments_are_left_alone(store, tmp_path):
    client = connect(TrackingConfig(), str(store)).client
    others = ["s3://bucket/mlartifacts", "file:///data/mlruns/7", (tmp_path / "mlartifacts-2").as_uri()]
    for number, location in enumerate(others):
        client.create_experiment(f"other {number}", artifact_location=location)
    moved = tmp_path / "moved"
    store.rename(moved)
    client = connect(TrackingConfig(), str(moved)).client
    assert [client.get_experiment_by_name(f"other {n}").artifact_location for n in range(3)] == others


@pytest.mark.parametrize("name", ["qu?ery", "per%20cent", "ha#sh", "with space", "größe", "a@b"])
def test_mlflow_is_in_the_very_folder_of_the_store(copied, tmp_path, name):
    parent = tmp_path / "names"
    parent.mkdir()
    store = parent / name
    copied.store.rename(store)
    connection = connect(TrackingConfig(), str(store))
    assert database_path(connection.uri) == store / "mlflow.db"
    assert download_model(connection, "models:/fedvsr/1").record.run == RUN
    for report in store.glob("mlartifacts/*/artifacts/report.html"):
        report.unlink()
    federation = FinishedRun(store, copied.config, copied.output).workspace.federation()
    summary = summarise_run(federation, load_run(federation, RUN))
    RunTracker(connection, summary.record).log_summary(summary)
    assert len([*store.glob("mlartifacts/*/artifacts/report.html")]) == 1
    # No folder with an encoded or a cut name lies beside it.
    assert [path.name for path in parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["store", "qu?ery", "per%20cent", "größe"])
def test_resume_takes_the_database_that_moved_with_its_store(config, tmp_path, name):
    from fedvsr.config.experiment import load_experiment

    old, new = tmp_path / "old", tmp_path / name
    inside, outside = sqlite_uri(old / "db/mlflow.db"), sqlite_uri(tmp_path / "mlflow.db")
    for uri, moved in ((inside, sqlite_uri(new / "db/mlflow.db")), (outside, outside), ("", "")):
        experiment = load_experiment(config, {"store": str(old), "tracking.uri": uri})
        assert moved_experiment(experiment, str(new)).tracking.uri == moved


def test_resume_names_the_command_that_continues_with_moved_videos(copied, fedvsr, videos):
    """The store is on another machine, where the videos are in another folder."""
    record = copied.store / f"federation/runs/{RUN}/experiment.json"
    record.write_text(record.read_text().replace(str(videos), "/no/videos"))
    output = fedvsr("resume", RUN, "--store", copied.store)
    assert output.code == 2
    assert output.err.count("\n") == 1
    assert output.err.startswith("error: /no/videos/ann: no such file or folder; ")
    assert f"`fedvsr run CONFIG --name {RUN} --store {copied.store}`" in output.err
    assert fedvsr("run", copied.config, "--name", RUN, "--store", copied.store).code == 0


def delete_model_files(run):
    for folder in run.store.glob("mlartifacts/models/*"):
        shutil.rmtree(folder)


def test_a_version_without_its_files_names_the_command_that_restores_it(copied, fedvsr, videos, tmp_path):
    delete_model_files(copied)
    here = ("--store", copied.store)
    output = fedvsr(
        "upscale",
        videos / "held-out/clip.avi",
        tmp_path / "a.mkv",
        "--model",
        "models:/fedvsr@challenger",
        *here,
    )
    assert output.code == 2
    assert output.err.count("\n") == 1
    assert "its files cannot be read" in output.err
    assert f"`fedvsr register {RUN} --name fedvsr`" in output.err
    # The weights are in the run's store, so they are registered again.
    assert fedvsr("register", RUN, "--name", "fedvsr", *here).out.startswith("fedvsr version 2 is round 2")
    connection = connect(TrackingConfig(), str(copied.store))
    assert download_model(connection, "models:/fedvsr@challenger").record.run == RUN


def test_a_champion_without_its_files_is_replaced_by_force(copied, fedvsr):
    here = ("--store", copied.store)
    assert fedvsr("promote", "--force", *here).code == 0
    delete_model_files(copied)
    assert fedvsr("register", RUN, *here).code == 0
    output = fedvsr("promote", *here)
    assert output.code == 2
    assert "the files of the champion, version 1 of 'fedvsr', cannot be read" in output.err
    assert "version 2 is champion" in fedvsr("promote", "--force", *here).out


def test_register_claims_nothing_if_the_files_cannot_be_read_back(copied, monkeypatch):
    connection = connect(TrackingConfig(), str(copied.store))
    store = copied.workspace.federation()
    log_model = model_registry._log_model

    def lose_files(*arguments):
        model = log_model(*arguments)
        delete_model_files(copied)
        return model

    monkeypatch.setattr(model_registry, "_log_model", lose_files)
    with pytest.raises(TrackingError, match=r"does not return them \(.*\); nothing was registered"):
        register_run(connection, store, load_run(store, RUN), "other")
    assert connection.client.search_model_versions("name = 'other'") == []
    monkeypatch.undo()
    assert register_run(connection, store, load_run(store, RUN), "other").model_version == "1"


def test_another_version_is_registered_if_one_has_other_weights(copied):
    weights = next(copied.store.glob("mlartifacts/models/*/artifacts/artifacts/model/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    connection, store = connect(TrackingConfig(), str(copied.store)), copied.workspace.federation()
    assert register_run(connection, store, load_run(store, RUN), "fedvsr").model_version == "2"


def test_messages_do_not_show_the_password_of_mlflow(tmp_path, closed_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://mlflow:secret@127.0.0.1:{closed_port}"
    connection = connect(TrackingConfig(uri=uri), str(tmp_path))
    with pytest.raises(TrackingError) as caught:
        connection.check()
    assert f"MLflow at http://***@127.0.0.1:{closed_port} could not" in str(caught.value)
    assert "secret" not in str(caught.value)
