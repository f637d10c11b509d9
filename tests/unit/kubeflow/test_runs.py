"""Runs: only one runs under a name; they are selected by name or id."""

import pytest

from fedvsr.errors import InputError, PipelinesError, UnknownNameError
from fedvsr.kubeflow import runs
from fedvsr.kubeflow.pipeline import get_newest_version
from fedvsr.kubeflow.runs import get_newest_run, list_runs, stop, submit


@pytest.fixture
def version(connection):
    return get_newest_version(connection, "federated-training")


def test_a_submitted_run_has_the_version_the_experiment_and_the_parameters(kfp, connection, version):
    run = submit(connection, version, "study", {"run_name": "demo", "rounds": 3})
    (stored,) = kfp.runs
    assert stored["pipeline_version_reference"] == {
        "pipeline_id": "pipeline-0",
        "pipeline_version_id": "version-0",
    }
    assert stored["runtime_config"]["parameters"] == {"run_name": "demo", "rounds": 3}
    assert [experiment["display_name"] for experiment in kfp.experiments] == ["study"]
    assert stored["experiment_id"] == "experiment-0"
    assert (run.name, run.rounds, run.is_active, run.ended_at) == ("demo", 3, True, None)


def test_an_experiment_is_created_once(kfp, connection, version):
    for name in ("one", "two"):
        submit(connection, version, "study", {"run_name": name})
    assert len(kfp.experiments) == 1


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PAUSED", "CANCELING"])
def test_the_name_of_an_active_run_is_refused(kfp, connection, version, state):
    kfp.add_run("demo", state)
    with pytest.raises(
        InputError, match=r"run 'demo' is still active, .*run-0; wait until it ends, or .*--replace"
    ):
        submit(connection, version, "study", {"run_name": "demo"})
    assert len(kfp.runs) == 1


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_a_run_that_has_ended_can_be_continued(kfp, connection, version, state):
    kfp.add_run("demo", state)
    kfp.add_run("other", "RUNNING")
    kfp.add_run("demo", "RUNNING", pipeline="another-deployments")
    assert submit(connection, version, "study", {"run_name": "demo"}).run_id == "run-3"


def test_stopping_waits_until_the_run_has_ended(kfp, connection, version):
    kfp.add_run("demo", "RUNNING")
    kfp.add_run("other", "RUNNING")
    stop(connection, version.pipeline_id, "demo")
    assert [run["state"] for run in kfp.runs] == ["CANCELED", "RUNNING"]
    submit(connection, version, "study", {"run_name": "demo"})


def test_a_run_whose_workflow_was_deleted_is_archived(kfp, connection, version):
    """KFP would show it as running forever."""
    kfp.lost_workflows.add(kfp.add_run("demo", "RUNNING"))
    stop(connection, version.pipeline_id, "demo")
    assert kfp.runs[0]["storage_state"] == "ARCHIVED"
    submit(connection, version, "study", {"run_name": "demo"})


def test_a_run_that_does_not_stop(kfp, connection, version, monkeypatch):
    monkeypatch.setattr(runs, "_STOPPING_SECONDS", 0.0)
    monkeypatch.setattr(runs, "_POLL_SECONDS", 0.0)
    kfp.stubborn = True
    kfp.add_run("demo", "RUNNING")
    with pytest.raises(PipelinesError, match="has not stopped within 0 s"):
        stop(connection, version.pipeline_id, "demo")


def test_runs_are_listed_newest_first_without_those_of_other_pipelines(kfp, connection, version):
    kfp.page_size = 2
    for name in ("one", "two", "three"):
        kfp.add_run(name, rounds=4.0)
        kfp.add_run(name, pipeline="another")
    listed = list(list_runs(connection, version.pipeline_id))
    assert [run.name for run in listed] == ["three", "two", "one"]
    assert {run.rounds for run in listed} == {4}
    assert listed[0].seconds == 56 * 60


def test_a_run_is_selected_by_its_name_or_its_id(kfp, connection, version):
    first, second = kfp.add_run("demo"), kfp.add_run("demo", "FAILED")
    assert get_newest_run(connection, version.pipeline_id, "demo").run_id == second
    assert get_newest_run(connection, version.pipeline_id, first).run_id == first
    with pytest.raises(
        UnknownNameError, match="unknown run 'nothing'; known: demo; `fedvsr runs` lists them"
    ):
        get_newest_run(connection, version.pipeline_id, "nothing")
