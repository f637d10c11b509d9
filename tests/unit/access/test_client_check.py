"""A client's check of the federation's bucket accepts only a refusal, not a server that does not answer."""

import pytest

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
