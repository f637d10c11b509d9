"""The pipeline's steps, one after the other, as containers call them with an environment."""

import re
import shutil

import pytest
from mlflow import MlflowClient

from fedvsr.config.parameters import to_fields
from fedvsr.errors import ConfigError, QuorumError
from fedvsr.federation import layout
from fedvsr.federation.run.clients import add_client
from fedvsr.federation.runs import load_run
from fedvsr.steps.aggregate import aggregate as aggregate_step
from fedvsr.steps.evaluate import evaluate as evaluate_step
from fedvsr.steps.prepare import prepare as prepare_step
from fedvsr.steps.register import register as register_step
from fedvsr.steps.shard import shard as shard_step
from fedvsr.steps.train_clients import train_clients as train_clients_step
from fedvsr.store.workspace import Workspace
from tests.unit.tiny_run import RUN

# As a pipeline's parameters arrive: every number a float.
SETTINGS = {
    "name": RUN,
    "seed": 1.0,
    "data.scale": 2.0,
    "data.minimum_frames": 3.0,
    "data.split_shots": False,
    "model.name": "fastvsr",
    "model.options": {"channels": 8.0, "blocks": 1.0},
    "federation.rounds": 2.0,
    "federation.clients": [],
    "training.local_steps": 1.0,
    "training.batch_size": 1.0,
    "training.frames": 3.0,
    "training.patch_size": 32.0,
    "training.learning_rate": 0.002,
    "training.device": "cpu",
    "training.threads": 1.0,
}


@pytest.fixture
def deployment(tmp_path, videos, empty_database, monkeypatch):
    """Returns a workspace with two clients. Its stores hold only videos."""
    workspace = Workspace.under(str(tmp_path / "buckets"))
    for client in ("ann", "bob"):
        shutil.copytree(videos / client, tmp_path / "buckets/clients" / client / layout.RAW_VIDEOS)
        add_client(workspace.federation(), client)
    shutil.copytree(videos / "held-out", tmp_path / "buckets/federation" / layout.HELD_OUT_VIDEOS)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return workspace


def run_round(planned, folder):
    train_clients_step(RUN, planned["round"], folder / "clients.md")
    evaluate_step(RUN, planned["previous"], folder / "previous.html")
    return aggregate_step(RUN, planned["round"], folder / "round.md")


def test_a_run_step_by_step(deployment, finished, tmp_path):
    rounds = prepare_step(SETTINGS)
    assert rounds == [
        {"round": 1, "previous": 0, "clients": ["ann", "bob"]},
        {"round": 2, "previous": 1, "clients": ["ann", "bob"]},
    ]
    # Whole floats became integers again.
    config = load_run(deployment.federation(), RUN).config
    assert config.model.options == {"channels": 8, "blocks": 1}
    assert type(config.training.local_steps) is int

    shard_step(RUN, tmp_path / "shards.md")
    shards = (tmp_path / "shards.md").read_text()
    assert all(f"| {owner}\u00a0" in shards for owner in ("ann", "bob", "held-out"))

    numbers = [run_round(planned, tmp_path) for planned in rounds]
    assert [values["round"] for values in numbers] == [1, 2]
    assert all(values["participants"] == 2 and values["client_loss_mean"] > 0 for values in numbers)
    assert re.search(r"\| ann\W+ok\W", (tmp_path / "clients.md").read_text())
    assert (tmp_path / "round.md").read_text().startswith("# Round 2")

    scores = evaluate_step(RUN, 2, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    best = register_step(RUN, "models", tmp_path / "registered.md")
    assert (tmp_path / "registered.md").read_text().startswith("# models version 1")
    assert best["psnr_y"] >= scores["psnr_y"]
    assert best["psnr_y_over_bicubic"] == pytest.approx(
        scores["psnr_y_over_bicubic"] + best["psnr_y"] - scores["psnr_y"]
    )

    # `fedvsr run` in other stores gives the same weights.
    for round_number in (0, 1, 2):
        key = layout.global_weights(RUN, round_number)
        assert deployment.federation().read(key) == finished.weights(round_number)

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri, registry_uri=uri)
    version = client.get_model_version_by_alias("models", "challenger")
    run = client.get_run(version.run_id)
    assert (run.info.run_name, run.info.status) == (RUN, "FINISHED")
    assert [metric.step for metric in client.get_metric_history(version.run_id, "psnr_y")] == [1, 2]

    # If the run is submitted again, no round is left, and the steps after the rounds still succeed.
    assert prepare_step(SETTINGS) == []
    shard_step(RUN, tmp_path / "shards.md")
    assert evaluate_step(RUN, 2, tmp_path / "page.html") == scores
    assert register_step(RUN, "models", tmp_path / "registered.md") == best
    assert len(client.search_model_versions("name = 'models'")) == 1
    # With more rounds it continues.
    assert [planned["round"] for planned in prepare_step({**SETTINGS, "federation.rounds": 3.0})] == [3]


def test_only_the_configured_rounds_are_evaluated(deployment, tmp_path):
    prepare_step({**SETTINGS, "evaluation.every": 2.0, "federation.clients": ["bob"]})
    shard_step(RUN, tmp_path / "shards.md")
    assert evaluate_step(RUN, 0, tmp_path / "page.html") == {}
    train_clients_step(RUN, 1, tmp_path / "clients.md")
    aggregate_step(RUN, 1, tmp_path / "round.md")
    assert evaluate_step(RUN, 1, tmp_path / "page.html") == {}
    assert "No round has ended yet" not in (tmp_path / "page.html").read_text()


def test_a_client_without_videos_is_reported_and_the_quorum_decides(deployment, tmp_path):
    shutil.rmtree(tmp_path / "buckets/clients/bob")
    prepare_step({**SETTINGS, "federation.quorum": 2.0})
    shard_step(RUN, tmp_path / "shards.md")
    (row,) = [line for line in (tmp_path / "shards.md").read_text().splitlines() if "| bob\u00a0" in line]
    assert "no video" in row
    train_clients_step(RUN, 1, tmp_path / "clients.md")
    assert re.search(r"\| bob\W+failed\W", (tmp_path / "clients.md").read_text())
    with pytest.raises(QuorumError, match="1 of 2 clients delivered"):
        aggregate_step(RUN, 1, tmp_path / "round.md")


def test_a_wrong_setting_is_refused_before_anything_is_written(deployment, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.local_steps"):
        prepare_step({**SETTINGS, "training.local_steps": 1.5})
    with pytest.raises(ConfigError, match=r"federation\.clients"):
        prepare_step({**SETTINGS, "federation.clients": ["Eve!"]})
    assert not (tmp_path / "buckets/federation/runs").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"federation.rounds": 3},
        {"federation": {"rounds": 3}},
        {"name": "another"},
        {"model.name.x": "y"},
    ],
)
def test_settings_do_not_override_what_a_parameter_sets(settings):
    with pytest.raises(ConfigError, match=r"settings\..* is set by the parameter"):
        to_fields({"run_name": RUN, "rounds": 2, "settings": settings})


def test_settings_are_every_other_field():
    fields = to_fields({"run_name": RUN, "settings": {"training.threads": 1, "model.options": {}}})
    assert fields == {"name": RUN, "training.threads": 1, "model.options": {}}


def test_a_federation_without_clients_is_refused(deployment, tmp_path):
    shutil.rmtree(tmp_path / "buckets/federation/clients")
    with pytest.raises(ConfigError, match="at least one client"):
        prepare_step(SETTINGS)


@pytest.mark.parametrize("missing", ["FEDVSR_FEDERATION_STORE", "FEDVSR_CLIENT_STORE", "MLFLOW_TRACKING_URI"])
def test_a_missing_environment_variable_is_named(deployment, monkeypatch, missing):
    monkeypatch.delenv(missing)
    with pytest.raises(ConfigError, match=missing):
        prepare_step(SETTINGS)
