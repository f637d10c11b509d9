"""A real S3 server with TLS that checks users' policies, for the tests marked `minio`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedvsr.experiment.trial_server import SERVER_VARIABLE, TrialServer, trial_server
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_admin import S3Admin
from fedvsr.store.s3_connection import CA_VARIABLE, ENDPOINT_VARIABLE

_PROGRAMS = ("silo", "minio", "/var/lib/testcluster/bin/minio")


@dataclass(frozen=True)
class RealS3:
    """A running server and its administrator."""

    server: TrialServer
    admin: S3Admin

    def connection(self, access_key: str, secret_key: str) -> S3Connection:
        return S3Connection(self.server.endpoint, access_key, secret_key, self.server.ca_certificate)

    def store(self, bucket: str) -> S3Store:
        """Opens a bucket as the administrator."""
        return S3Store.connect(self.connection(self.server.user, self.server.password), bucket)


def find_program() -> str | None:
    """Returns the server's program, if this machine has one."""
    named = os.environ.get(SERVER_VARIABLE)
    return named or next((path for path in map(shutil.which, _PROGRAMS) if path), None)


@contextmanager
def running_s3(folder: Path) -> Iterator[RealS3]:
    """Runs a server in the block. Its address and its administrator's keys are in the environment."""
    program = find_program()
    if program is None:
        pytest.skip(f"this machine has no MinIO: {SERVER_VARIABLE} may name one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVER_VARIABLE, program)
        with trial_server(folder) as server:
            patch.setenv(ENDPOINT_VARIABLE, server.endpoint)
            patch.setenv(CA_VARIABLE, server.ca_certificate)
            patch.setenv("AWS_ACCESS_KEY_ID", server.user)
            patch.setenv("AWS_SECRET_ACCESS_KEY", server.password)
            admin = S3Admin()
            admin.wait(60, print)
            yield RealS3(server, admin)
