"""`fedvsr clients`: what is checked, and what the user is advised to do."""

import json

import pytest

from fedvsr.access.client_check import ClientCheckReport, Finding
from fedvsr.cluster.settings import CLIENTS_VARIABLE
from tests.unit.cluster.conftest import SETTINGS
from tests.unit.tiny_run import run_command


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Makes the terminal wide enough for every table."""
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def deployment(kubernetes, context, monkeypatch):
    """A deployment of ann, bob and cleo without problems, as seen from outside and in their Jobs."""
    for name in ("FEDVSR_FEDERATION_STORE", "FEDVSR_CLIENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    data = {CLIENTS_VARIABLE: SETTINGS, "MLFLOW_TRACKING_URI": "http://mlflow.fedvsr.svc:5000"}
    kubernetes.put("configmaps", "fedvsr", {"metadata": {"name": "fedvsr"}, "data": data})
    for namespace in ("client-ann", "client-bob"):
        kubernetes.put("namespaces", "", {"metadata": {"name": namespace}})
        kubernetes.put("serviceaccounts", namespace, {"metadata": {"name": "fedvsr-client"}})
        stores = {"FEDVSR_FEDERATION_STORE": "s3://f", "FEDVSR_CLIENT_STORE": "s3://c-{client}"}
        kubernetes.put("configmaps", namespace, {"metadata": {"name": "fedvsr-client"}, "data": stores})
        keys = {"AWS_ACCESS_KEY_ID": "eA==", "AWS_SECRET_ACCESS_KEY": "eQ=="}
        kubernetes.put("secrets", namespace, {"metadata": {"name": "fedvsr-client"}, "data": keys})
        hard, used = {"pods": "5", "requests.cpu": "2"}, {"pods": "1", "requests.cpu": "500m"}
        quota = {"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}}
        kubernetes.put("resourcequotas", namespace, quota)
    kubernetes.on_job = reporting(kubernetes, Finding(what="its own bucket"))
    return kubernetes


def reporting(kubernetes, *findings):
    """Returns a script for Jobs that report these findings."""

    def play(job):
        report = ClientCheckReport(findings=findings).model_dump_json()
        pod = kubernetes.start_pod(job, f"{job['metadata']['name']}-0")
        kubernetes.end_pod(pod, 0, message=report)
        kubernetes.end_job(job, "Complete")

    return play


def test_list_shows_the_clients(deployment):
    output = run_command("clients", "list")
    assert output.code == 0, output.err
    (ann,) = [line for line in output.out.splitlines() if "ann" in line]
    assert all(
        part in ann for part in ("client-ann", "registry/trainer:1", "nvidia.com/gpu", "pods 1/5", "–")
    )


def test_clients_that_are_ready(deployment):
    output = run_command("clients", "check")
    assert output.code == 0, output.out
    assert output.out.count("its own bucket") == 3
    # The server checks the manifests of the real Job and its pod.
    pods = [item for item in deployment.dry_runs if item["kind"] == "Pod"]
    assert {pod["metadata"]["namespace"] for pod in pods} == {"client-ann", "client-bob"}
    assert pods[0]["spec"]["securityContext"]["runAsNonRoot"]
    assert deployment.names("jobs") == []


def test_only_named_clients_are_checked(deployment):
    output = run_command("clients", "check", "cleo", "--no-job")
    assert output.code == 0
    assert "cleo" in output.out
    assert "ann" not in output.out
    assert deployment.request_count("POST", "/jobs") == 1, "the dry run"
    output = run_command("clients", "check", "eve")
    assert output.code == 2
    assert "unknown client 'eve'; known: ann, bob, cleo" in output.err


@pytest.mark.parametrize(
    ("spoil", "problem", "advice"),
    [
        (lambda api: api.remove("namespaces", "", "client-ann"), "it does not exist", "make deploy"),
        (
            lambda api: api.remove("serviceaccounts", "client-ann", "fedvsr-client"),
            "it does not exist",
            "make deploy",
        ),
        (
            lambda api: api.put(
                "secrets",
                "client-ann",
                {"metadata": {"name": "fedvsr-client"}, "data": {"AWS_ACCESS_KEY_ID": "x"}},
            ),
            "it lacks AWS_SECRET_ACCESS_KEY",
            "make deploy",
        ),
        (
            lambda api: api.put(
                "resourcequotas",
                "client-ann",
                {"metadata": {"name": "q"}, "status": {"hard": {"pods": "5"}, "used": {"pods": "5"}}},
            ),
            "of pods 5 are allowed and 0 left, a Job needs 1",
            "raise the client's quota",
        ),
        (
            lambda api: api.faults.append(
                lambda method, path, query: (
                    422 if method == "POST" and path.endswith("client-ann/pods") else None
                )
            ),
            "the test wants 422",
            "make deploy",
        ),
    ],
)
def test_a_problem_of_a_namespace_is_shown_with_advice(deployment, spoil, problem, advice):
    spoil(deployment)
    output = run_command("clients", "check", "ann")
    assert output.code == 1
    (line,) = [line for line in output.out.splitlines() if problem in line]
    assert advice in line
    # A Job would only wait, so none is created.
    assert not [path for method, path in deployment.requests if method == "POST" and "dryRun" not in path]


def test_a_permission_that_the_user_lacks_is_not_a_problem_of_the_client(deployment):
    message = 'secrets "fedvsr-client" is forbidden: User "eve" cannot get resource "secrets" in API group ""'
    deployment.faults.append(lambda method, path, query: (403, message) if "/secrets/" in path else None)
    output = run_command("clients", "check", "ann", "--no-job")
    assert output.code == 0
    assert "secret fedvsr-client (not checked: you lack the permission)" in output.out


@pytest.mark.parametrize(("offered", "code"), [("2", 0), ("1", 1)])
def test_the_nodes_are_checked_for_gpus(deployment, offered, code):
    node = {"metadata": {"name": "n"}, "status": {"allocatable": {"nvidia.com/gpu": offered}}}
    deployment.put("nodes", "", node)
    output = run_command("clients", "check", "ann", "--gpus", 2, "--no-job")
    assert output.code == code
    assert ("no node offers more than 1" in output.out) == bool(code)


def test_a_clients_findings_are_shown(deployment):
    finding = Finding(what="mlflow:5000 cannot be reached", problem="it [bold]answers", advice="look at it")
    deployment.on_job = reporting(deployment, finding)
    output = run_command("clients", "check", "ann")
    assert output.code == 1
    assert "it [bold]answers" in output.out
    job = next(item for item in deployment.dry_runs if item["kind"] == "Job")
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "check"


def test_a_clients_findings_are_made_printable():
    text = r'{"findings": [{"what": "\u001b[2J", "problem": "a\nb\u0007"}]}'
    (finding,) = ClientCheckReport.from_bytes(text.encode(), "it").findings
    assert (finding.what, finding.problem) == (r"\x1b[2J", r"a b\x07")


def test_a_client_without_a_readable_report_has_a_problem(deployment):
    def play(job):
        deployment.end_pod(deployment.start_pod(job, "ann-0"), 0, message="hello")
        deployment.end_job(job, "Complete")

    deployment.on_job = play
    output = run_command("clients", "check", "ann")
    assert output.code == 1
    assert "its termination message is no report of a check" in output.out


def test_a_client_is_added_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run_command("clients", "add", "ann", "--gpu-resource", "amd.com/gpu")
    assert output.code == 0
    assert "make deploy VALUES=clients.yaml" in output.out
    assert json.dumps("amd.com/gpu").strip('"') in (tmp_path / "clients.yaml").read_text()
    again = run_command("clients", "add", "ann")
    assert again.code == 2
    assert "has that client already" in again.err
