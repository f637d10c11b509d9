"""Which certificates of an S3 server are accepted."""

import os
from http.server import BaseHTTPRequestHandler

import pytest

from fedvsr.errors import CertificateError
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_connection import CA_VARIABLE, ENDPOINT_VARIABLE
from tests.unit.store.certificates import authority, tls_server


class NothingHere(BaseHTTPRequestHandler):
    """Answers that no object exists."""

    def do_HEAD(self):
        self.send_response(404)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An S3 server whose certificate is from a private authority; the value is the authority's PEM text."""
    with tls_server(tmp_path, NothingHere) as (port, ca):
        monkeypatch.setenv(ENDPOINT_VARIABLE, f"https://localhost:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-user")
        yield ca


def test_a_private_authority_is_trusted_by_its_text(server, monkeypatch):
    monkeypatch.setenv(CA_VARIABLE, server)
    assert not S3Store("bucket").exists("key")


def test_several_authorities_may_be_trusted(server, monkeypatch):
    monkeypatch.setenv(CA_VARIABLE, authority("another")[1] + server)
    assert not S3Store("bucket").exists("key")


@pytest.mark.parametrize("text", [None, "", authority("another")[1], "no certificate"])
def test_a_server_of_another_authority_is_refused(server, monkeypatch, text):
    if text is not None:
        monkeypatch.setenv(CA_VARIABLE, text)
    with pytest.raises(CertificateError, match=r"certificate of https://localhost.* is not valid"):
        S3Store("bucket").exists("key")


def connected(ca_certificate):
    """Opens a bucket of the server by an explicit connection."""
    connection = S3Connection(os.environ[ENDPOINT_VARIABLE], "user", "secret-of-the-user", ca_certificate)
    return S3Store.connect(connection, "bucket")


def test_an_explicit_connection_has_its_own_authority(server, monkeypatch):
    assert not connected(server).exists("key")
    # That of the environment does not count.
    monkeypatch.setenv(CA_VARIABLE, server)
    with pytest.raises(CertificateError, match="it must be of a public authority"):
        connected("").exists("key")


def test_the_error_names_the_authority_that_was_expected(server):
    with pytest.raises(
        CertificateError, match=r"it must be of the authority 'another', or a public one"
    ) as caught:
        connected(authority("another")[1]).exists("key")
    assert "\n" not in str(caught.value)
    with pytest.raises(CertificateError, match="is no PEM certificate"):
        connected("no certificate").exists("key")
