"""A federated run in MLflow."""

import json

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import ConfigError, InputError, TrackingError
from fedvsr.federation import layout
from fedvsr.federation.records import DataChange, EvaluationRecord, RoundRecord, read_record
from fedvsr.federation.runs import load_run
from fedvsr.report.summary import summarise_run
from fedvsr.tracking.connection import connect
from fedvsr.tracking.runs import RunTracker
from tests.unit.tiny_run import RUN


@pytest.fixture
def client(finished):
    return MlflowClient(finished.tracking_uri, registry_uri=finished.tracking_uri)


def runs_of(client, experiment="fedvsr"):
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_there_is_one_finished_run(client):
    (run,) = runs_of(client)
    assert (run.info.run_name, run.info.status) == (RUN, "FINISHED")
    assert run.data.tags["fedvsr.run"] == RUN


def test_every_setting_is_a_parameter(client, finished):
    (run,) = runs_of(client)
    config = load_run(finished.workspace.federation(), RUN).config.model_dump(mode="json")

    def flat(values, prefix=""):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    expected = dict(flat(config))
    assert set(run.data.params) == set(expected) - {"federation.rounds"}
    assert run.data.params["training.learning_rate"] == "0.002"
    assert run.data.params["model.options.channels"] == "8"
    assert run.data.params["federation.clients"] == "ann,bob"
    # The number of rounds may be raised. A parameter may not change.
    assert run.data.tags["fedvsr.rounds"] == "2"


def test_metrics_are_those_of_the_records_with_the_round_as_step(client, finished):
    store = finished.workspace.federation()
    (run,) = runs_of(client)
    rounds = [read_record(store, layout.round_record(RUN, number), RoundRecord) for number in (1, 2)]
    evaluations = [read_record(store, layout.evaluation(RUN, number), EvaluationRecord) for number in (1, 2)]
    (clip,) = zip(*(evaluation.scores for evaluation in evaluations), strict=True)
    (floor,) = zip(*(evaluation.bicubic for evaluation in evaluations), strict=True)
    losses = [[participant.loss for participant in record.participants] for record in rounds]
    expected = {
        "client_loss_mean": [np.mean(values) for values in losses],
        "client_loss_min": [min(values) for values in losses],
        "client_loss_max": [max(values) for values in losses],
        "participants": [2, 2],
        "bytes_up": [record.bytes_up for record in rounds],
        "bytes_down": [record.bytes_down for record in rounds],
        "mixing_coefficient": [record.diagnostics["mixing_coefficient"] for record in rounds],
        "hellinger_distance": [record.diagnostics["hellinger_distance"] for record in rounds],
        "waiting_share": [
            sum(entry.waiting_seconds for entry in record.participants)
            / sum(entry.seconds for entry in record.participants)
            for record in rounds
        ],
        "seconds_train": [record.seconds["train"] for record in rounds],
        "seconds_aggregate": [record.seconds["aggregate"] for record in rounds],
        "seconds_evaluate": [evaluation.seconds for evaluation in evaluations],
        # With one held-out clip the mean over frames is the clip's.
        **{name: [getattr(scores, name) for scores in clip] for name in ("psnr_y", "psnr_rgb")},
        **{name: [getattr(scores, name) for scores in clip] for name in ("ssim_y", "ssim_rgb")},
        "psnr_y_over_bicubic": [a.psnr_y - b.psnr_y for a, b in zip(clip, floor, strict=True)],
    }
    assert set(expected) <= set(run.data.metrics)
    for name, values in expected.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in history] == [1, 2], name
        assert [metric.value for metric in history] == pytest.approx(values), name


def test_a_round_whose_clips_changed_has_a_metric_of_it(copied):
    store = copied.workspace.federation()
    tracker = RunTracker(connect(TrackingConfig(), str(copied.store)), load_run(store, RUN))
    change = DataChange(client="ann", since=2, clips_before=2, clips=3)
    record = read_record(store, layout.round_record(RUN, 2), RoundRecord)
    tracker.log_round(record.model_copy(update={"round": 3, "data_changes": (change,)}))
    client = MlflowClient(copied.tracking_uri, registry_uri=copied.tracking_uri)
    history = client.get_metric_history(tracker.run_id, "clients_with_changed_clips")
    assert [(metric.step, metric.value) for metric in history] == [(3, 1)]


def test_a_round_with_a_limited_client_has_a_metric_of_it(copied):
    store = copied.workspace.federation()
    tracker = RunTracker(connect(TrackingConfig(), str(copied.store)), load_run(store, RUN))
    record = read_record(store, layout.round_record(RUN, 2), RoundRecord)
    ann, bob = record.participants
    limited = bob.model_copy(update={"weight_before_bound": 0.9})
    tracker.log_round(record.model_copy(update={"round": 3, "participants": (ann, limited)}))
    client = MlflowClient(copied.tracking_uri, registry_uri=copied.tracking_uri)
    history = client.get_metric_history(tracker.run_id, "limited_clients")
    assert [(metric.step, metric.value) for metric in history] == [(3, 1)]


def test_artifacts_are_whole(client, finished, tmp_path):
    (run,) = runs_of(client)
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert names >= {"config.json", "report.html", "psnr.png", "crops.png"}
    for name in names:
        client.download_artifacts(run.info.run_id, name, str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["name"] == RUN
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")
    for name in ("psnr.png", "crops.png"):
        assert cv2.imread(str(tmp_path / name)).std() > 10


def test_sending_a_round_twice_changes_nothing(copied):
    connection = connect(TrackingConfig(), str(copied.store))
    store = copied.workspace.federation()
    summary = summarise_run(store, load_run(store, RUN))
    for _ in range(2):
        tracker = RunTracker(connection, summary.record)
        tracker.log_summary(summary)
    tracker.finish()
    (run,) = runs_of(connection.client)
    for name in run.data.metrics:
        assert [metric.step for metric in connection.client.get_metric_history(run.info.run_id, name)] == [
            1,
            2,
        ]


def test_a_new_run_with_the_same_name_gets_a_separate_mlflow_run(copied, fedvsr):
    for key in [*copied.workspace.federation().keys(f"runs/{RUN}/")]:
        copied.workspace.federation().delete(key)
    output = fedvsr("run", copied.config, "--store", copied.store, "--seed", 5, "--rounds", 1)
    assert (output.code, output.err) == (0, "")
    client = MlflowClient(copied.tracking_uri, registry_uri=copied.tracking_uri)
    seeds = sorted(run.data.params["seed"] for run in runs_of(client))
    assert seeds == ["1", "5"]
    tags = [version.tags["fedvsr.psnr_y"] for version in client.search_model_versions("name = 'fedvsr'")]
    assert len(tags) == 2


def test_the_run_that_kubeflow_created_is_used(copied, monkeypatch):
    """Kubeflow gives the run's id to the steps."""
    connection = connect(TrackingConfig(experiment="kubeflow"), str(copied.store))
    run_id = connection.client.create_run(connection.experiment_id(), run_name="pipeline").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    store = copied.workspace.federation()
    summary = summarise_run(store, load_run(store, RUN))
    tracker = RunTracker(connection, summary.record)
    tracker.log_summary(summary)
    assert tracker.run_id == run_id
    assert len(runs_of(connection.client, "kubeflow")) == 1
    assert len(runs_of(connection.client)) == 1
    assert connection.client.get_run(run_id).data.metrics["participants"] == 2


def test_a_run_id_that_does_not_exist_is_reported(copied, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    record = load_run(copied.workspace.federation(), RUN)
    with pytest.raises(TrackingError, match="could not open the run"):
        RunTracker(connect(TrackingConfig(), str(copied.store)), record)


def test_the_mlflow_of_a_configuration(tmp_path, store, monkeypatch, empty_database):
    other = f"sqlite:///{empty_database}"
    assert connect(TrackingConfig(), str(store)).uri == f"sqlite:///{store}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert connect(TrackingConfig(), str(store)).uri == other
    assert connect(TrackingConfig(uri=f"sqlite:///{store}/mlflow.db"), "s3://bucket").uri.endswith(
        "/mlflow.db"
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # The second connection does not use the address of the first.
    assert connect(TrackingConfig(), str(store)).uri == f"sqlite:///{store}/mlflow.db"
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        connect(TrackingConfig(), "s3://bucket")
    with pytest.raises(InputError, match="no such MLflow database"):
        connect(TrackingConfig(), str(tmp_path / "none"), create=False)


def test_two_connections_are_independent(finished, store):
    full = connect(TrackingConfig(), str(finished.store))
    empty = connect(TrackingConfig(), str(store))
    assert len(full.client.search_registered_models()) == 1
    assert len(empty.client.search_registered_models()) == 0
    assert len(full.client.search_registered_models()) == 1


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:///{tmp}/text.db"])
def test_an_invalid_mlflow_is_reported(tmp_path, uri):
    (tmp_path / "text.db").write_text("not a database, just text " * 100)
    with pytest.raises(TrackingError, match="could not be opened"):
        connect(TrackingConfig(uri=uri.format(tmp=tmp_path)), str(tmp_path)).experiment_id()


def test_a_server_that_does_not_answer_is_reported_soon(tmp_path, config, fedvsr, closed_port, monkeypatch):
    """The error comes within seconds, before anything is trained. MLflow's default takes minutes."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    store = tmp_path / "new"
    uri = f"http://127.0.0.1:{closed_port}"
    output = fedvsr("run", config, "--store", store, "--tracking.uri", uri)
    assert output.code == 1
    assert output.err.startswith(f"error: MLflow at {uri} could not open the experiment")
    assert output.err.count("\n") == 1
    assert not store.exists()


def test_retries_are_few_unless_the_environment_sets_them(closed_port, monkeypatch):
    import os

    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    uri = f"http://127.0.0.1:{closed_port}"
    # Set first, so that monkeypatch restores the variable after the test.
    monkeypatch.setenv(name, "5")
    connect(TrackingConfig(uri=uri), "runs")
    assert os.environ[name] == "5"
    monkeypatch.delenv(name)
    connect(TrackingConfig(uri=uri), "runs")
    # The waits double from two seconds, so seven retries would take minutes.
    assert int(os.environ[name]) <= 3
    monkeypatch.setenv(name, "5")


def test_training_is_not_lost_if_mlflow_fails(finished, fedvsr, config, store, monkeypatch):
    """MLflow fails in the middle of the run. When it works again, the training results still exist."""
    from mlflow.exceptions import MlflowException

    log = RunTracker._log
    calls = []

    def fail(self, values, step, witness):
        calls.append(step)
        if step == 2:
            with self._connection.translating_errors("take the metrics"):
                raise MlflowException("gone")
        log(self, values, step, witness)

    monkeypatch.setattr(RunTracker, "_log", fail)
    output = fedvsr("run", config, "--store", store)
    assert output.code == 1
    assert "MLflow at sqlite:" in output.err
    assert "could not take the metrics: gone" in output.err
    monkeypatch.setattr(RunTracker, "_log", log)
    trained = store / f"federation/runs/{RUN}/rounds/0002/global.safetensors"
    assert trained.read_bytes() == finished.weights(2)
    assert fedvsr("resume", RUN, "--store", store).code == 0
    uri = f"sqlite:///{store}/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    (run,) = runs_of(client)
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "psnr_y")] == [1, 2]


def test_mlflow_sends_no_telemetry():
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
