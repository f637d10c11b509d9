"""A port of this machine where nothing listens."""

import socket

import pytest


@pytest.fixture
def closed_port():
    """Bound but not listening, so that nobody else takes it and every connection is refused."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
