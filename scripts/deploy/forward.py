"""Forwards local ports to services in the cluster."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from scripts.deploy.shell import Cluster, DeployError

_START_SECONDS = 30
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Forward:
    """A connection to a service in the cluster.

    Attributes:
        service: The service's name.
        url: The service's address on this machine.
    """

    service: str
    url: str
    _process: subprocess.Popen[bytes]

    @property
    def has_ended(self) -> bool:
        """Whether the connection is lost, for example because the service's pod was replaced."""
        return self._process.poll() is not None


@contextmanager
def forward_service(
    cluster: Cluster, namespace: str, service: str, port: int, local: int | None = None, scheme: str = "http"
) -> Iterator[Forward]:
    """Forwards a local port to a service while the block runs.

    Args:
        cluster: The cluster.
        namespace: The service's namespace.
        service: The service's name.
        port: The service's port.
        local: The local port; None for any free port.
        scheme: The scheme of the service's address.

    Raises:
        DeployError: kubectl ended or gave no connection in time.
    """
    ports = f"{local or ''}:{port}"
    command = cluster.kubectl_command("-n", namespace, "port-forward", f"service/{service}", ports)
    with tempfile.TemporaryFile("w+") as output:
        # kubectl runs in a separate session: Ctrl-C reaches only this program, which then ends kubectl.
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            local_port = _wait_until_ready(command, process, output)
            yield Forward(service, f"{scheme}://localhost:{local_port}", process)
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(command: tuple[str, ...], process: subprocess.Popen[bytes], output: IO[str]) -> str:
    """Returns the local port once kubectl has printed it."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        # Checked before the output is read, since kubectl may print its last line and end in between.
        is_over = process.poll() is not None or time.monotonic() > deadline
        output.seek(0)
        text = output.read()
        if ready := _READY.search(text):
            return ready.group(1)
        if is_over:
            raise DeployError(f"`{' '.join(command)}` gave no connection: {text.strip() or 'no answer'}")
        time.sleep(0.1)
