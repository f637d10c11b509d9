"""The start of a run: refusals before anything is written, and the number of reads of its record."""

import shutil

import pytest

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.runs import find_run
from fedvsr.steps.aggregate import aggregate as aggregate_step
from fedvsr.steps.evaluate import evaluate as evaluate_step
from fedvsr.steps.prepare import prepare as prepare_step
from fedvsr.steps.register import register as register_step
from fedvsr.store.local import LocalStore
from fedvsr.tracking.connection import connect_from_environment
from fedvsr.tracking.start import validate_start
from tests.unit.test_steps import SETTINGS
from tests.unit.tiny_run import RUN


@pytest.fixture
def stored(finished):
    return find_run(finished.workspace.federation(), RUN)


def refuse_connection():
    pytest.fail("MLflow was opened")


@pytest.mark.parametrize("name", ["fastsvr", "bicubic"])
def test_a_wrong_model_is_refused_before_mlflow_is_opened(stored, name):
    model = stored.config.model.model_copy(update={"name": name, "options": {}})
    config = stored.config.model_copy(update={"model": model})
    with pytest.raises((UnknownNameError, ConfigError), match=name):
        validate_start(config, None, refuse_connection, "fedvsr")


def test_a_changed_setting_is_refused_before_mlflow_is_opened(stored):
    config = stored.config.model_copy(update={"seed": 5})
    with pytest.raises(ConfigError, match="was started with 1"):
        validate_start(config, stored, refuse_connection, "fedvsr")


def test_a_warm_start_that_does_not_fit_is_refused_before_anything_is_written(
    finished, fedvsr, config, store, tmp_path
):
    weights = tmp_path / "weights.safetensors"
    shutil.copy(finished.store / "federation" / layout.global_weights(RUN, 2), weights)
    options = ("--warm-start", weights, "--model.options", "channels=16")
    output = fedvsr("run", config, "--store", store, *options)
    assert output.code == 1
    assert "does not fit fastvsr: tensor" in output.err
    assert [path.name for path in store.iterdir()] == ["mlflow.db"]


def test_the_variable_with_the_address_of_mlflow_must_be_set(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        connect_from_environment()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert connect_from_environment().uri == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def reads_of_record(monkeypatch):
    """The keys of run records, in the order in which they are read."""
    read, keys = LocalStore.read, []

    def record_read(store, key):
        if key == layout.config(RUN):
            keys.append(key)
        return read(store, key)

    monkeypatch.setattr(LocalStore, "read", record_read)
    return keys


def test_a_run_reads_its_record_once(copied, fedvsr, reads_of_record):
    assert fedvsr("run", copied.config, "--store", copied.store).code == 0
    assert len(reads_of_record) == 1


@pytest.mark.parametrize(
    "step",
    [
        lambda folder: prepare_step({**SETTINGS, "federation.clients": ["ann", "bob"]}),
        lambda folder: aggregate_step(RUN, 2, folder / "round.md"),
        lambda folder: evaluate_step(RUN, 2, folder / "page.html"),
        lambda folder: register_step(RUN, "fedvsr", folder / "registered.md"),
    ],
    ids=["prepare", "aggregate", "evaluate", "register"],
)
def test_a_step_reads_the_runs_record_once(copied, reads_of_record, monkeypatch, tmp_path, step):
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", copied.workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", copied.workspace.client_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copied.tracking_uri)
    step(tmp_path)
    assert len(reads_of_record) == 1
