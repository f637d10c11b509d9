"""A client's check accepts only a refusal of the federation's bucket, and addresses that never answer."""

import socket

import pytest

from fedvsr.access import client_check
from fedvsr.access.client_check import run_client_check
from fedvsr.errors import AccessDeniedError, StoreError
from fedvsr.store.local import LocalStore

WHAT = "nothing else of the federation's can be written"


class Bucket(LocalStore):
    """A bucket that accepts a client's own updates and answers every other write with an error."""

    uri = "s3://federation"
    error: StoreError | None = None

    def write(self, key, data):
        if self.error and "/updates/" not in key:
            raise self.error
        super().write(key, data)


class Workspace:
    def __init__(self, root, error):
        self.bucket, self.own = Bucket(root / "federation"), LocalStore(root / "ann")
        self.bucket.error = error

    def federation(self):
        return self.bucket

    def client(self, name):
        return self.own


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (AccessDeniedError("AccessDenied"), ""),
        (StoreError("it does not answer"), "it does not answer"),
        (None, "it wrote checks/ann"),
    ],
)
def test_only_a_refusal_shows_that_a_client_cannot_write_elsewhere(tmp_path, error, problem):
    findings = run_client_check(Workspace(tmp_path, error), "ann", []).findings
    assert {finding.what: finding.problem for finding in findings}[WHAT] == problem


def addresses_problem(tmp_path, address):
    """Returns what is wrong with an address that the client's pods must not reach."""
    findings = run_client_check(Workspace(tmp_path, None), "ann", [address]).findings
    return findings[-1].problem


def test_an_address_that_answers_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(client_check, "_POLICY_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert addresses_problem(tmp_path, f"127.0.0.1:{server.getsockname()[1]}") == "it answers"


def test_an_address_that_is_closed_a_moment_later_is_no_problem(tmp_path, monkeypatch):
    """A network plugin applies the policies of a new pod after its start."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(client_check.time, "sleep", lambda seconds: server.close())
        assert addresses_problem(tmp_path, address) == ""
