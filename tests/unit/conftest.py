"""One finished run, with its MLflow database, for the tests of everything that looks at runs."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.tiny_run import RUN, FinishedRun, Output, run_command, write_video

# What a shell may have set, and no test means.
_VARIABLES = (
    "FEDVSR_STORE",
    "FEDVSR_FEDERATION_STORE",
    "FEDVSR_CLIENT_STORE",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
)
# Tables of MLflow's database and their columns that hold paths.
_PATHS = {
    "experiments": "artifact_location",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
    "runs": "artifact_uri",
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def fedvsr() -> Callable[..., Output]:
    """Runs a command: fedvsr("run", path, "--rounds", 2)."""
    return run_command


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the videos of two clients, ann and bob, and a held-out one."""
    root = tmp_path_factory.mktemp("videos")
    for number, client in enumerate(("ann", "bob")):
        for index in range(2):
            write_video(root / client / f"{client}-{index}.avi", 10 * number + index)
    write_video(root / "held-out" / "clip.avi", 99)
    return root


@pytest.fixture(scope="session")
def settings(videos: Path) -> dict[str, Any]:
    """The tiny run as a configuration file has it."""
    return {
        "name": RUN,
        "seed": 1,
        "clients": {"videos": {"ann": str(videos / "ann"), "bob": str(videos / "bob")}},
        "evaluation_videos": {"path": str(videos / "held-out")},
        "data": {"scale": 2, "minimum_frames": 3, "split_shots": False},
        "model": {"name": "fastvsr", "options": {"channels": 8, "blocks": 1}},
        "federation": {"rounds": 2},
        "training": {
            "local_steps": 1,
            "batch_size": 1,
            "frames": 3,
            "patch_size": 32,
            "learning_rate": 0.002,
            "device": "cpu",
            "threads": 1,
        },
    }


@pytest.fixture
def config(settings: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny run's file, in a folder of its own."""
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without anything in it: making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Path:
    """A folder for --store that holds an empty MLflow database."""
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def finished(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> FinishedRun:
    """The tiny run, finished; to be looked at, not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    path, store = root / "experiment.yaml", root / "store"
    path.write_text(yaml.safe_dump(settings))
    store.mkdir()
    shutil.copy(empty_database, store / "mlflow.db")
    with _without_variables():
        output = run_command("run", path, "--store", store)
    assert output.code == 0, output.err
    return FinishedRun(store, path, output)


@pytest.fixture
def copied(finished: FinishedRun, tmp_path: Path) -> FinishedRun:
    """A copy of the finished run that a test may change."""
    store = tmp_path / "copied"
    shutil.copytree(finished.store, store)
    # MLflow keeps absolute paths; those of the copy are its own.
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        for table, column in _PATHS.items():
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(finished.store), str(store))
            )
    return FinishedRun(store, finished.config, finished.output)


@contextlib.contextmanager
def _without_variables() -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
    yield
    os.environ.update(kept)
