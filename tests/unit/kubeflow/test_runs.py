"""Runs: one at a time under a name, found by name or id."""

import pytest

from fedvsr.errors import InputError, PipelinesError, UnknownNameError
from fedvsr.kubeflow import runs
from fedvsr.kubeflow.pipeline import newest
from fedvsr.kubeflow.runs import list_runs, newest_run, stop, submit


@pytest.fixture
def version(connection):
    return newest(connection, "federated-training")


def test_a_run_is_of_the_version_in_the_experiment_with_the_parameters(kfp, connection, version):
    run = submit(connection, version, "study", {"run_name": "demo", "rounds": 3})
    (made,) = kfp.runs
    assert made["pipeline_version_reference"] == {
        "pipeline_id": "pipeline-0",
        "pipeline_version_id": "version-0",
    }
    assert made["runtime_config"]["parameters"] == {"run_name": "demo", "rounds": 3}
    assert [each["display_name"] for each in kfp.experiments] == ["study"]
    assert made["experiment_id"] == "experiment-0"
    assert (run.name, run.rounds, run.going, run.finished) == ("demo", 3, True, None)


def test_an_experiment_is_made_once(kfp, connection, version):
    for name in ("one", "two"):
        submit(connection, version, "study", {"run_name": name})
    assert len(kfp.experiments) == 1


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PAUSED", "CANCELING"])
def test_a_name_that_is_going_on_is_refused(kfp, connection, version, state):
    kfp.add_run("demo", state)
    with pytest.raises(
        InputError, match=r"run 'demo' is going on, .*run-0; wait for its end, or .*--replace"
    ):
        submit(connection, version, "study", {"run_name": "demo"})
    assert len(kfp.runs) == 1


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_a_name_that_has_ended_goes_on(kfp, connection, version, state):
    kfp.add_run("demo", state)
    kfp.add_run("other", "RUNNING")
    kfp.add_run("demo", "RUNNING", pipeline="another-deployments")
    assert submit(connection, version, "study", {"run_name": "demo"}).run_id == "run-3"


def test_stopping_waits_for_the_end(kfp, connection, version):
    kfp.add_run("demo", "RUNNING")
    kfp.add_run("other", "RUNNING")
    stop(connection, version.pipeline_id, "demo")
    assert [each["state"] for each in kfp.runs] == ["CANCELED", "RUNNING"]
    submit(connection, version, "study", {"run_name": "demo"})


def test_a_run_whose_workflow_was_deleted_is_put_away(kfp, connection, version):
    """KFP would show it as running for ever."""
    kfp.lost_workflows.add(kfp.add_run("demo", "RUNNING"))
    stop(connection, version.pipeline_id, "demo")
    assert kfp.runs[0]["storage_state"] == "ARCHIVED"
    submit(connection, version, "study", {"run_name": "demo"})


def test_a_run_that_does_not_stop(kfp, connection, version, monkeypatch):
    monkeypatch.setattr(runs, "_STOPPING_SECONDS", 0.0)
    monkeypatch.setattr(runs, "_POLL_SECONDS", 0.0)
    kfp.stubborn = True
    kfp.add_run("demo", "RUNNING")
    with pytest.raises(PipelinesError, match="was told to stop 0 s ago and has not"):
        stop(connection, version.pipeline_id, "demo")


def test_the_newest_comes_first_and_other_pipelines_not_at_all(kfp, connection, version):
    kfp.page_size = 2
    for name in ("one", "two", "three"):
        kfp.add_run(name, rounds=4.0)
        kfp.add_run(name, pipeline="another")
    found = list(list_runs(connection, version.pipeline_id))
    assert [each.name for each in found] == ["three", "two", "one"]
    assert {each.rounds for each in found} == {4}
    assert found[0].seconds == 56 * 60


def test_a_run_is_found_by_its_name_or_its_id(kfp, connection, version):
    first, second = kfp.add_run("demo"), kfp.add_run("demo", "FAILED")
    assert newest_run(connection, version.pipeline_id, "demo").run_id == second
    assert newest_run(connection, version.pipeline_id, first).run_id == first
    with pytest.raises(
        UnknownNameError, match="unknown run 'nothing'; known: demo; `fedvsr runs` lists them"
    ):
        newest_run(connection, version.pipeline_id, "nothing")
