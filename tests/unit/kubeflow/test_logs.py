"""Steps and their logs, from the workflow and the log servers of KFP 2.17."""

import pytest

from fedvsr.errors import PipelinesError
from fedvsr.kubeflow import logs
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.kubeflow.logs import OwnLineFilter, follow_logs, is_note, is_of_client, read_log
from fedvsr.kubeflow.step_pods import last_ended_round, list_step_pods
from tests.unit.kubeflow.fake_kfp import FakeKfp, serve


@pytest.fixture
def run_id(kfp):
    return kfp.add_run("demo", "SUCCEEDED", rounds=2)


def texts(logged_lines, own=True):
    filters = {}
    return [
        line
        for step_pod, line in logged_lines
        if not own or filters.setdefault(step_pod.node, OwnLineFilter()).accept(line)
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_a_step_has_its_round_from_its_inputs(kfp, connection, run_id, packed):
    kfp.packs_nodes = packed
    kfp.add_step("prepare", None)
    kfp.add_step("train-clients", 7)
    kfp.add_step("evaluate-2", 7, "Running")
    kfp.nodes["driver"] = {"type": "Pod", "templateName": "system-container-driver"}
    kfp.nodes["dag"] = {"type": "DAG", "templateName": "root"}
    step_pods = list_step_pods(connection, run_id)
    assert [(pod.name, pod.round_number) for pod in step_pods] == [
        ("prepare", None),
        ("train_clients", 7),
        ("evaluate", 7),
    ]
    assert [pod.has_ended for pod in step_pods] == [True, True, False]
    assert [pod.title for pod in step_pods][:2] == ["prepare", "train_clients, round 7"]


def test_a_run_without_a_workflow_has_no_step_pods(connection, run_id):
    assert list_step_pods(connection, run_id) == []
    assert last_ended_round([]) is None


def test_the_last_round_that_has_ended(kfp, connection, run_id):
    kfp.add_step("train-clients", 4, "Running")
    assert last_ended_round(list_step_pods(connection, run_id)) == 3
    kfp.add_step("aggregate", 4)
    kfp.add_step("aggregate", 5, "Failed")
    assert last_ended_round(list_step_pods(connection, run_id)) == 4


@pytest.mark.parametrize("web", [False, True])
def test_the_log_of_a_step_that_has_ended(kfp, connection, run_id, web):
    kfp.is_web_server = web
    kfp.add_step("shard", None, log="ann | hello\nbob | hello\n")
    logged_lines = follow_logs(connection, run_id, lambda _: True, until_end=False)
    assert texts(logged_lines) == ["ann | hello", "bob | hello"]


def test_only_the_web_server_has_the_log_of_a_running_step(kfp, connection, run_id, monkeypatch):
    kfp.add_step("shard", None, "Running", log="hello\n")
    assert texts(follow_logs(connection, run_id, lambda _: True, until_end=False)) == []
    with serve(FakeKfp()) as web:
        web.is_web_server, web.logs = True, kfp.logs
        monkeypatch.setenv("FEDVSR_KFP_UI", web.url)
        monkeypatch.setenv("FEDVSR_KFP_TOKEN", "for-the-endpoint")
        both = KfpConnection(kfp.url)
        assert texts(follow_logs(both, run_id, lambda _: True, until_end=False)) == ["hello"]
        assert web.tokens == {None}


def test_lines_of_kfp_and_argo_are_left_out(kfp, connection, run_id):
    kfp.add_step("shard", None, log='{"version": 1}\n{\n}\nhello: {\n')
    logged_lines = list(follow_logs(connection, run_id, lambda _: True, until_end=False))
    assert texts(logged_lines) == ['{"version": 1}', "{", "}", "hello: {"]
    assert len(texts(logged_lines, own=False)) > 10


def test_a_missing_log_is_reported_and_the_others_are_shown(kfp, connection, run_id):
    kfp.add_step("shard", None)
    kfp.add_step("prepare", None, "Pending")
    kfp.add_step("register", None, log="hello\n")
    missing, pending, _ = list_step_pods(connection, run_id)
    assert read_log(connection, run_id, pending) == ""
    reason = r"has no log of shard \(Failed to read wf-0\); set the address of KFP's web server"
    with pytest.raises(PipelinesError, match=reason):
        read_log(connection, run_id, missing)
    error, hello = texts(follow_logs(connection, run_id, lambda _: True, until_end=False))
    assert error.startswith("(log not shown: KFP at ")
    assert is_note(error)
    assert not is_note(hello)
    assert hello == "hello"


def test_following_yields_every_line_once_and_ends_with_the_run(kfp, connection, monkeypatch):
    monkeypatch.setattr(logs, "_POLL_SECONDS", 0)
    kfp.is_web_server = True
    run_id = kfp.add_run("demo", "RUNNING")
    node = kfp.add_step("shard", None, "Running", log="one\n")

    def more(_):
        if "two" not in kfp.logs[node]:
            kfp.logs[node] += "two\n"
            return
        kfp.nodes[node]["phase"] = "Succeeded"
        kfp.add_step("prepare", None, log="three\n")
        kfp.runs[0]["state"] = "SUCCEEDED"

    logged_lines = follow_logs(connection, run_id, lambda _: True, until_end=True, sleep=more)
    assert texts(logged_lines) == ["one", "two", "three"]


def test_following_continues_after_a_restart_of_kfp(kfp, connection, monkeypatch):
    run_id = kfp.add_run("demo", "RUNNING")
    kfp.add_step("shard", None, log="one\n")
    lines, slept, endpoint = [], [], connection.endpoint

    def away(_):
        slept.append(connection.endpoint)
        # Port 9 of the loopback has no listener.
        connection.endpoint = "http://127.0.0.1:9" if len(slept) in (1, 2) else endpoint
        if len(slept) == 4:
            kfp.runs[0]["state"] = "SUCCEEDED"

    for step_pod, line in follow_logs(connection, run_id, lambda _: True, until_end=True, sleep=away):
        lines.append((step_pod.name, line))
    assert lines.count(("shard", "one")) == 1
    assert len(slept) == 4
    monkeypatch.setattr(logs, "_MAX_FAILURES", 2)
    connection.endpoint = "http://127.0.0.1:9"
    with pytest.raises(PipelinesError, match="does not answer"):
        list(follow_logs(connection, run_id, lambda _: True, until_end=True, sleep=slept.append))
    assert len(slept) == 6


def test_lines_of_a_client_have_its_name_in_front():
    lines = [
        "ann | train: 1/2",
        "ann: failed: OOMKilled",
        "anna | train: 1/2",
        "bob | ann | x",
        "clients: 1/2 ann",
    ]
    assert [line for line in lines if is_of_client(line, "ann")] == lines[:2]
