"""The store in S3: servers that do not answer, and the cache."""

import hashlib
import socket
from pathlib import Path

import pytest
from urllib3.exceptions import HTTPError

from fedvsr.errors import ConfigError, DataError, StoreError
from fedvsr.store import s3_connection
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_connection import ENDPOINT_VARIABLE
from fedvsr.store.workspace import open_store


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_error_of_a_silent_server_is_one_sentence(s3_environment, closed_port: int, monkeypatch):
    monkeypatch.setenv(ENDPOINT_VARIABLE, f"http://127.0.0.1:{closed_port}")
    with pytest.raises(StoreError) as caught:
        S3Store("bucket").read("key")
    message = str(caught.value)
    assert message.startswith(f"cannot read s3://bucket/key: http://127.0.0.1:{closed_port} does not answer")
    assert ENDPOINT_VARIABLE in message
    assert "\n" not in message


def test_a_server_that_never_answers_is_an_error_within_seconds():
    # The longest wait is these limits times the number of retries.
    pool = s3_connection.s3_connections()
    retries = pool.connection_pool_kw["retries"]
    assert pool.connection_pool_kw["timeout"].connect_timeout * (1 + retries.connect) <= 15


@pytest.mark.parametrize(
    "call",
    [
        lambda store, path: store.read("key"),
        lambda store, path: store.write("key", b"x"),
        lambda store, path: store.upload("key", path),
        lambda store, path: list(store.keys("")),
    ],
)
def test_a_missing_bucket_is_reported(s3_environment, tmp_path: Path, call):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with pytest.raises(StoreError, match=r"no bucket 'fedvsr-no-such-bucket' at http.*; make it first"):
        call(S3Store("fedvsr-no-such-bucket"), path)


def test_an_invalid_bucket_name_is_a_store_error(s3_environment):
    with pytest.raises(StoreError, match=r"invalid bucket name"):
        S3Store("b").read("key")


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://", "http://host/path"])
def test_an_invalid_endpoint_is_a_configuration_error(monkeypatch, endpoint: str):
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    with pytest.raises(ConfigError, match=f"^{ENDPOINT_VARIABLE}: '{endpoint}' is not allowed"):
        S3Store("bucket")


def test_a_download_is_cached(s3_store: S3Store, s3_environment: Path):
    digest = hashlib.sha256(b"bytes").hexdigest()
    s3_store.write("key", b"bytes")
    path = s3_store.local("key", digest)
    assert path == s3_environment / digest
    s3_store.delete("key")
    assert s3_store.local("key", digest).read_bytes() == b"bytes"


def test_a_truncated_file_in_the_cache_is_downloaded_again(s3_store: S3Store, s3_environment: Path):
    digest = hashlib.sha256(b"bytes").hexdigest()
    s3_store.write("key", b"bytes")
    s3_environment.mkdir()
    (s3_environment / digest).write_bytes(b"by")
    assert s3_store.local("key", digest).read_bytes() == b"bytes"


def test_a_refused_download_leaves_nothing_in_the_cache(s3_store: S3Store, s3_environment: Path):
    s3_store.write("key", b"other bytes")
    with pytest.raises(DataError):
        s3_store.local("key", hashlib.sha256(b"bytes").hexdigest())
    assert list(s3_environment.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_store_error(s3_store: S3Store, s3_environment: Path):
    s3_store.write("key", b"bytes")
    s3_environment.write_text("a file in the cache's place")
    with pytest.raises(StoreError, match=r"cannot write .*; make room there"):
        s3_store.local("key", hashlib.sha256(b"bytes").hexdigest())


def test_an_incomplete_answer_is_a_store_error(s3_store: S3Store, monkeypatch):
    s3_store.write("key", b"bytes")

    def broken(*arguments, **keywords):
        raise HTTPError("connection broken")

    monkeypatch.setattr(s3_store._client, "get_object", broken)
    with pytest.raises(StoreError, match=r"cannot read s3://.*: connection broken"):
        s3_store.read("key")


@pytest.mark.parametrize("uri", ["", "http://host/bucket", "s3://", "ftp://host"])
def test_an_invalid_store_address_is_a_configuration_error(uri: str):
    with pytest.raises(ConfigError, match=r"it must be a folder or s3://BUCKET/PREFIX"):
        open_store(uri)
