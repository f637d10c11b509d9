"""If the averaged weights of the best round are better than its global weights, they are what people get."""

import pytest
from mlflow import MlflowClient

from fedvsr.cli.tables import rounds_table
from fedvsr.config.experiment import TrackingConfig
from fedvsr.federation import layout
from fedvsr.federation.evaluations import list_evaluations
from fedvsr.federation.records import EvaluationRecord, read_record, write_record
from fedvsr.federation.runs import load_run
from fedvsr.models.state import state_of
from fedvsr.report.page import render_page
from fedvsr.report.summary import summarise_run
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import connect
from fedvsr.tracking.model_registry import download_model, register_run
from fedvsr.weights import serialize
from tests.unit.tiny_run import RUN


@pytest.fixture
def averaged_run(fedvsr, config, store):
    """A run of two rounds whose second round has averaged weights."""
    output = fedvsr("run", config, "--store", store, "--server.averaging", "exponential")
    assert output.code == 0, output.err
    return output, Workspace.under(str(store)).federation()


def rate(federation, better: bool) -> EvaluationRecord:
    """Makes the averaged weights of round 2 the best of the run by 1 dB, or the worst of all."""
    key = layout.evaluation(RUN, 2)
    evaluation = read_record(federation, key, EvaluationRecord)
    scores = tuple(
        clip.model_copy(update={"psnr_y": 99.0 if better else 1.0}) for clip in evaluation.averaged.scores
    )
    changed = evaluation.model_copy(
        update={"averaged": evaluation.averaged.model_copy(update={"scores": scores})}
    )
    write_record(federation, key, changed)
    return changed


def test_the_metrics_of_both_weights_are_in_mlflow(averaged_run, store):
    _, federation = averaged_run
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("fedvsr").experiment_id])
    second = list_evaluations(federation, load_run(federation, RUN).config)[-1]
    for name, value in second.means(["psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"]).items():
        assert client.get_metric_history(run.info.run_id, name)[-1].value == pytest.approx(value)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "averaged_psnr_y")] == [2]


@pytest.mark.parametrize("better", [True, False])
def test_the_better_weights_are_registered_shown_and_named(averaged_run, store, fedvsr, monkeypatch, better):
    monkeypatch.setenv("COLUMNS", "200")
    _, federation = averaged_run
    evaluation = rate(federation, better)
    assert evaluation.is_averaged == better
    record = load_run(federation, RUN)
    connection = connect(TrackingConfig(), str(store))
    registration = register_run(connection, federation, record, "judged")
    assert registration.averaged == better
    trained = download_model(connection, "models:/judged@challenger")
    if better:
        expected = federation.read(layout.averaged_weights(RUN, 2))
        assert registration.global_digest == evaluation.averaged.digest
    else:
        expected = federation.read(layout.global_weights(RUN, registration.round))
    assert serialize(state_of(trained.network)) == expected
    version = connection.client.get_model_version_by_alias("judged", "challenger")
    assert version.tags["fedvsr.averaged"] == str(better).lower()
    assert ("averaged weights" in version.description) == better
    # Registering again finds the version.
    assert register_run(connection, federation, record, "judged") == registration

    page = render_page(summarise_run(federation, record))
    assert ("Held-out clips, round 2, averaged weights" in page) == better
    assert "<th>weights</th>" in page
    shown = fedvsr("register", RUN, "--store", store, "--name", "judged")
    assert (", averaged weights: challenger" in shown.out) == better
    shown = fedvsr("evaluate", RUN, "--store", store)
    assert f"{RUN}, round 2, {'averaged' if better else 'global'} weights" in shown.out
    assert f"│ mean, {'global' if better else 'averaged'}" in shown.out


def test_the_rounds_table_marks_averaged_weights(averaged_run):
    _, federation = averaged_run
    record = load_run(federation, RUN)
    for better in (True, False):
        rate(federation, better)
        summary = summarise_run(federation, record)
        table = rounds_table(summary)
        psnr = list(table.columns[4].cells)[1]
        assert psnr == ("99.00*" if better else f"{summary.evaluations[1].mean('psnr_y'):.2f}")
        assert table.caption == ("* averaged weights" if better else None)
