"""A step that fails under KFP's executor ends its log with one sentence."""

import os
import warnings
from pathlib import Path

import pytest
from kfp import local

from components.aggregate.component import aggregate
from components.evaluate.component import evaluate
from components.prepare.component import prepare
from components.register.component import register
from components.shard.component import shard
from components.train_clients.component import train_clients
from tests.pipeline.test_compiled_pipeline import pipeline_parameters

pytestmark = pytest.mark.pipeline

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def log_of(tmp_path, monkeypatch, capfd):
    """Runs a step as KFP's executor does, in a process of its own, and returns the lines of its log."""
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", str(tmp_path / "federation"))
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", str(tmp_path / "clients/{client}"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("PYTHONPATH", os.fspath(REPOSITORY))
    monkeypatch.chdir(tmp_path)

    def run(step, **parameters):
        runner = local.SubprocessRunner(use_venv=False)
        local.init(runner, pipeline_root=str(tmp_path / "outputs"), raise_on_error=False)
        with warnings.catch_warnings():
            # This environment has the packages of the image.
            warnings.filterwarnings("ignore", "You may be attemping to run a task", RuntimeWarning)
            step(**parameters)
        return [line.strip() for line in capfd.readouterr().out.splitlines()]

    return run


def defaults():
    parameters = {name: parameter.default for name, parameter in pipeline_parameters().items()}
    return {**parameters, "run_name": "demo", "registered_model": "fedvsr"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"scale": 5}, "error: data.scale: 5 is not allowed; it must be 2, 3 or 4"),
        ({"registered_model": "a/b"}, "error: registered_model: 'a/b' is not allowed; it must have letters"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(log_of, tmp_path, wrong, sentence):
    log = log_of(prepare, **{**defaults(), "clients": ["ann"], **wrong})
    assert not any("Traceback" in line for line in log), "\n".join(log)
    assert sum(line.startswith(sentence) for line in log) == 1, "\n".join(log)
    assert not (tmp_path / "federation").exists()


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        (shard, {}),
        (train_clients, {"round": 1}),
        (aggregate, {"round": 1}),
        (evaluate, {"round": 1}),
        (register, {"registered_model": "fedvsr"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_step_ends_with_one_sentence(log_of, step, parameters):
    log = log_of(step, run_name="demo", **parameters)
    assert not any("Traceback" in line for line in log), "\n".join(log)
    (sentence,) = [line for line in log if line.startswith("error: ")]
    assert "unknown run" in sentence
