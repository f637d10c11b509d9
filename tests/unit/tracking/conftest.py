"""A closed port of this machine."""

import socket

import pytest


@pytest.fixture
def closed_port():
    """A port that is bound but does not listen, so every connection is refused."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
