"""An S3 server behind a proxy, as HTTPS_PROXY and NO_PROXY say."""

import base64
import os
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fedvsr.errors import CertificateError, ConfigError, StoreError
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3 import S3Store
from tests.unit.store.certificates import authority, tls_server
from tests.unit.store.test_s3_certificates import NothingHere


class Proxy(ThreadingHTTPServer):
    """A proxy that connects to what it is asked for, and remembers the requests."""

    daemon_threads = True

    def __init__(self, refusal=0):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.refusal, self.asked, self.users = refusal, [], []


class _Tunnel(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        self.server.asked.append(self.path)
        self.server.users.append(self.headers.get("Proxy-Authorization"))
        if self.server.refusal:
            self.send_error(self.server.refusal)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self._copy, args=(server, self.connection))
            back.start()
            self._copy(self.connection, server)
            back.join()
        self.close_connection = True

    def _copy(self, source, target):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def start_proxy():
    started = []

    def start(refusal=0):
        proxy = Proxy(refusal)
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        started.append((proxy, thread))
        return proxy

    yield start
    for proxy, thread in started:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@pytest.fixture
def server(tmp_path):
    """The port of an S3 server, and the PEM text of its authority."""
    with tls_server(tmp_path, NothingHere) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxies_of_the_shell(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def opened(server, ca_certificate=None):
    port, ca = server
    connection = S3Connection(
        f"https://localhost:{port}", "user", "secret-key", ca if ca_certificate is None else ca_certificate
    )
    return S3Store.connect(connection, "bucket")


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "127.0.0.1:{port}"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_is_used_and_the_servers_certificate_is_checked(
    start_proxy, server, monkeypatch, address, variable
):
    proxy = start_proxy()
    monkeypatch.setenv(variable, address.format(port=proxy.server_port))
    assert not opened(server).exists("key")
    assert proxy.asked == [f"localhost:{server[0]}"]
    assert proxy.users == [None]
    with pytest.raises(CertificateError, match="it must be of the authority 'another'"):
        opened(server, authority("another")[1]).exists("key")


@pytest.mark.parametrize("hosts", ["localhost", "*", ".example.org,localhost", "localhost:{port}"])
def test_hosts_of_no_proxy_are_reached_directly(start_proxy, server, monkeypatch, hosts):
    proxy = start_proxy()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("NO_PROXY", hosts.format(port=server[0]))
    assert not opened(server).exists("key")
    assert not proxy.asked


def test_the_proxys_user_and_password_are_sent_to_it(start_proxy, server, monkeypatch):
    proxy = start_proxy()
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss%3Aword@127.0.0.1:{proxy.server_port}")
    assert not opened(server).exists("key")
    scheme, _, value = proxy.users[0].partition(" ")
    assert (scheme, base64.b64decode(value)) == ("Basic", b"user:p@ss:word")


@pytest.mark.parametrize("refusal", [403, 407])
def test_a_proxy_that_refuses_is_named_without_its_password(start_proxy, server, monkeypatch, refusal):
    proxy = start_proxy(refusal)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:password@127.0.0.1:{proxy.server_port}")
    with pytest.raises(StoreError, match=rf"the proxy of HTTPS_PROXY .* {refusal} .*NO_PROXY") as caught:
        opened(server).exists("key")
    assert "password" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["ftp://proxy:21", "http://", "http://host:port", "http://:80"])
def test_a_wrong_address_of_a_proxy_is_a_configuration_error(server, monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(ConfigError, match="HTTPS_PROXY and HTTP_PROXY must be"):
        opened(server)
