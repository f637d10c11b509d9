"""The connection to KFP and its errors."""

import pytest

from fedvsr.errors import InputError, PipelinesError
from fedvsr.kubeflow.connection import KfpConnection


def test_the_endpoint_may_come_from_the_environment(kfp, monkeypatch):
    monkeypatch.setenv("FEDVSR_KFP_ENDPOINT", f"{kfp.url}/")
    assert KfpConnection().find("/pipelines/names/federated-training")["pipeline_id"] == "pipeline-0"
    assert KfpConnection("http://other").endpoint == "http://other"


def test_a_runs_address_is_that_of_the_web_server(connection, monkeypatch):
    assert connection.run_url("abc") == "http://localhost:8080/#/runs/details/abc"
    monkeypatch.setenv("FEDVSR_KFP_UI", "https://kfp.example/")
    assert KfpConnection(connection.endpoint).run_url("abc") == "https://kfp.example/#/runs/details/abc"


def test_the_token_is_sent(kfp, monkeypatch):
    monkeypatch.setenv("FEDVSR_KFP_TOKEN", "secret")
    KfpConnection(kfp.url).find("/pipelines/names/federated-training")
    assert kfp.tokens == {"Bearer secret"}


def test_find_returns_none_for_an_unknown_name(connection):
    assert connection.find("/pipelines/names/nothing") is None


def test_pages_are_requested_only_if_needed(kfp, connection):
    kfp.page_size = 2
    for number in range(5):
        kfp.add_run(f"run-{number}")
    pages = connection.pages("/runs", "runs")
    assert next(pages)["display_name"] == "run-0"
    assert len(kfp.requests) == 1
    assert [run["display_name"] for run in pages] == ["run-1", "run-2", "run-3", "run-4"]
    assert len(kfp.requests) == 3


def test_an_invalid_endpoint_is_refused():
    with pytest.raises(InputError, match="must begin with http:// or https://"):
        KfpConnection("ml-pipeline:8888")


def test_a_server_that_does_not_answer():
    # Port 9 of the loopback has no listener.
    with pytest.raises(PipelinesError, match=r"KFP at http://127\.0\.0\.1:9 does not answer .*`make ui`"):
        KfpConnection("http://127.0.0.1:9").get("/runs")


def test_a_refusal_has_kfps_message(kfp, connection):
    kfp.lost_workflows.add(kfp.add_run("demo", "RUNNING"))
    with pytest.raises(PipelinesError, match=r'workflows\.argoproj\.io "wf" not found \(HTTP 500\)'):
        connection.post("/runs/run-0:terminate", {})


def test_a_server_that_is_not_kfp(kfp, connection):
    kfp.answers_with_a_page = True
    with pytest.raises(PipelinesError, match="did not answer with JSON; is KFP's API at http"):
        connection.get("/runs")
