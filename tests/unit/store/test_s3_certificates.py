"""Which certificates of an S3 server are accepted."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedvsr.errors import CertificateError
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_connection import CA_VARIABLE, ENDPOINT_VARIABLE
from tests.unit.store.certificates import authority, certificate


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
    ca_key, ca = authority("hospital")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    chain = tmp_path / "chain.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode()
    chain.write_text(certificate("s3", key, "hospital", ca_key, names) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with ThreadingHTTPServer(("localhost", 0), NothingHere) as listener:
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        monkeypatch.setenv(ENDPOINT_VARIABLE, f"https://localhost:{listener.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-user")
        yield ca
        listener.shutdown()
        thread.join()


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
