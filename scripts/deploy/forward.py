"""Ports of this machine that lead to services in the cluster."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.deploy.shell import Cluster, DeployError

_SECONDS = 30
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Forward:
    """A connection to a service.

    Attributes:
        service: The service's name.
        url: Its address on this machine.
    """

    service: str
    url: str
    _process: subprocess.Popen[bytes]

    @property
    def ended(self) -> bool:
        """Whether the connection is lost, as when the service's pod was replaced."""
        return self._process.poll() is not None


@contextmanager
def forwarded(
    cluster: Cluster, namespace: str, service: str, port: int, local: int | None = None
) -> Iterator[Forward]:
    """Forwards a port of this machine to a service for as long as the block runs.

    Args:
        cluster: The cluster.
        namespace: The service's.
        service: Its name.
        port: Its port.
        local: The port here; without it, one that is free.
    """
    ports = f"{local or ''}:{port}"
    command = cluster.kubectl_command("-n", namespace, "port-forward", f"service/{service}", ports)
    with tempfile.TemporaryFile("w+") as output:
        # In a session of its own, so that Ctrl-C reaches this program alone, which then ends it.
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            end = time.monotonic() + _SECONDS
            ready = None
            while ready is None:
                # Looked at before the output is read, so that nothing said last is missed.
                lost = process.poll() is not None or time.monotonic() > end
                output.seek(0)
                text = output.read()
                ready = _READY.search(text)
                if lost and ready is None:
                    reason = text.strip() or "no answer"
                    raise DeployError(f"`{' '.join(command)}` gave no connection: {reason}")
                time.sleep(0.1)
            yield Forward(service, f"http://localhost:{ready.group(1)}", process)
        finally:
            process.terminate()
            process.wait()
