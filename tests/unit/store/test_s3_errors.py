"""Each refusal of an S3 server becomes an error that says what to do."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from fedvsr.errors import (
    AccessDeniedError,
    ClockError,
    CredentialsError,
    NotFoundError,
    StoreError,
)
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_connection import ENDPOINT_VARIABLE

XML = "<Error><Code>{code}</Code><Message>The reason.</Message></Error>"
PAGE = "<html><body>\n" + "Payment required. " * 500 + "</body></html>"


class Server:
    """Answers every request with what the test says."""

    def __init__(self, port):
        self.endpoint = f"http://127.0.0.1:{port}"
        self.answers, self.requests = [], []

    def will(self, status, code="", headers=None, body=None, content_type="application/xml", seconds_ahead=0):
        body = XML.format(code=code) if body is None else body
        self.answers.append((status, headers or {}, body.encode(), content_type, seconds_ahead))


@pytest.fixture
def server(monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            size = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(size)
            answers = listener.scripted.answers
            status, headers, body, content_type, ahead = answers.pop(0) if len(answers) > 1 else answers[0]
            listener.scripted.requests.append(self.command)
            self.send_response_only(status)
            date = datetime.now(UTC) + timedelta(seconds=ahead)
            self.send_header("Date", format_datetime(date, usegmt=True))
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *arguments):
            pass

    monkeypatch.setattr(urllib3.Retry, "sleep", lambda *arguments: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.scripted = Server(listener.server_port)
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        yield listener.scripted
        listener.shutdown()
        thread.join()


@pytest.fixture
def store(server):
    return S3Store.connect(S3Connection(server.endpoint, "site-ann", "secret-of-ann"), "bucket")


READS = [
    lambda store: store.read("key"),
    lambda store: store.write("key", b"x"),
    lambda store: list(store.keys("")),
]
# These ask with HEAD, whose answer has no body.
LOOKS = [lambda store: store.size("key"), lambda store: store.age("key"), lambda store: store.exists("key")]


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
@pytest.mark.parametrize("call", READS + LOOKS)
def test_keys_that_are_not_accepted(server, store, code, call):
    server.will(403, code, {"X-Minio-Error-Code": code, "X-Minio-Error-Desc": '"The reason."'})
    with pytest.raises(CredentialsError) as caught:
        call(store)
    message = str(caught.value)
    assert f"{code}: The reason; {server.endpoint} does not accept these keys" in message
    assert message.endswith("ask the operator of the federation for a new invitation")
    assert "secret-of-ann" not in message


def test_keys_of_the_environment_are_named_by_their_variables(server, monkeypatch):
    monkeypatch.setenv(ENDPOINT_VARIABLE, server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-user")
    server.will(403, "InvalidAccessKeyId")
    with pytest.raises(CredentialsError, match="look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Store("bucket").read("key")


@pytest.mark.parametrize("call", READS + LOOKS)
def test_a_missing_right_is_told_apart_from_wrong_keys(server, store, call):
    server.will(403, "AccessDenied", {"X-Minio-Error-Code": "AccessDenied"})
    with pytest.raises(AccessDeniedError, match="AccessDenied"):
        call(store)


@pytest.mark.parametrize("call", LOOKS)
def test_a_server_that_gives_no_reason_for_a_look_denies_access(server, store, call):
    server.will(403)
    with pytest.raises(AccessDeniedError):
        call(store)


@pytest.mark.parametrize(("ahead", "words"), [(-1203, r"120\d s ahead of"), (1203, r"120\d s behind")])
@pytest.mark.parametrize("call", READS)
def test_a_wrong_clock_is_described_in_seconds(server, store, call, ahead, words):
    server.will(403, "RequestTimeTooSkewed", seconds_ahead=ahead)
    with pytest.raises(ClockError, match=rf"this machine's clock is {words} the server's, .*set the clock"):
        call(store)


@pytest.mark.parametrize("call", LOOKS)
def test_a_wrong_clock_is_noticed_without_a_reason(server, store, call):
    server.will(403, seconds_ahead=-1203)
    with pytest.raises(ClockError, match=r"120\d s ahead of"):
        call(store)


@pytest.mark.parametrize("call", LOOKS[:2] + READS[:1])
def test_an_object_that_does_not_exist(server, store, call):
    server.will(404, "NoSuchKey")
    with pytest.raises(NotFoundError):
        call(store)


@pytest.mark.parametrize("status", [402, 413])
def test_a_page_of_a_portal_or_proxy_is_one_short_line(server, store, status):
    server.will(status, body=PAGE, content_type="text/html")
    with pytest.raises(StoreError, match=rf"no S3 server, or a proxy refuses .*{status}") as caught:
        store.read("key")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(server, store, status):
    server.will(status, body=PAGE, content_type="text/html")
    server.will(200, body="bytes")
    assert store.read("key") == b"bytes"
    assert server.requests == ["GET", "GET"]


def test_a_refusal_is_asked_once(server, store):
    server.will(403, "InvalidAccessKeyId")
    with pytest.raises(CredentialsError):
        store.read("key")
    assert server.requests == ["GET"]
