"""Fixtures of the cluster tests: a Kubernetes API, and a federation with a planned round."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedvsr.cluster.settings import parse_clients
from fedvsr.federation import layout
from fedvsr.federation.records import ReportRecord, write_record
from fedvsr.federation.run.prepare import plan_round, prepare_run
from fedvsr.progress import Progress
from fedvsr.store.base import bytes_digest
from tests.unit.cluster.fake_kubernetes import FakeKubernetes

SETTINGS = """{
  "ann": {"namespace": "client-ann", "image": "registry/trainer:1"},
  "bob": {"namespace": "client-bob", "image": "registry/trainer:1"},
  "cleo": {"namespace": "client-bob", "image": "registry/trainer:1"}
}"""


class RecordingProgress(Progress):
    """Keeps messages and steps, and wakes threads that wait for them."""

    def __init__(self, changed):
        self.changed = changed
        self.messages = []
        self.steps = []

    @contextmanager
    def stage(self, label, total=None):
        yield lambda done, text: self.steps.append((label, done, text))

    def message(self, text):
        with self.changed:
            self.messages.append(text)
            self.changed.notify_all()


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    before = set(threading.enumerate())
    with FakeKubernetes() as fake:
        yield fake
    remaining = [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith(("watch", "log"))
    ]
    assert not remaining, "threads were left behind"


@pytest.fixture
def context(kubernetes, tmp_path, monkeypatch):
    """Makes the API the cluster of the kube context; returns the kubeconfig file."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubernetes.kubeconfig())
    for name in ("KUBERNETES_SERVICE_HOST", "KUBE_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def clients():
    return parse_clients(SETTINGS)


@pytest.fixture
def progress(kubernetes):
    return RecordingProgress(kubernetes.changed)


@pytest.fixture
def make_plan(workspace, make_config):
    """Plans round 1 of a run of ann, bob and cleo; takes the keywords of make_config."""

    def plan(**overrides):
        store = workspace.federation()
        config = make_config(**{"federation__clients": ["ann", "bob", "cleo"], **overrides})
        return plan_round(store, prepare_run(store, config), 1)

    return plan


@pytest.fixture
def deliver(workspace):
    """Writes an update and a report as a client's Job does."""

    def write(plan, client, loss=0.5):
        store = workspace.federation()
        data = f"weights of {client}".encode()
        store.write(layout.update(plan.run, plan.round, client), data)
        report = ReportRecord(
            run=plan.run,
            round=plan.round,
            client=client,
            base_digest=plan.base_digest,
            update_digest=bytes_digest(data),
            update_bytes=len(data),
            downloaded_bytes=1,
            dataset_digest=bytes_digest(b"clips"),
            loss=loss,
            clips=1,
            steps=1,
            samples=1,
            seconds=2.5,
            device="cpu",
        )
        write_record(store, layout.report(plan.run, plan.round, client), report)

    return write
