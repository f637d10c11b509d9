"""An address of a store is the very folder or bucket that it spells, or it is refused."""

import contextlib
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minio import Minio

from fedvsr.errors import ConfigError
from fedvsr.store.address import BucketAddress, parse_address
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_connection import ENDPOINT_VARIABLE, client_from_environment
from fedvsr.store.workspace import Workspace, open_store
from fedvsr.text import without_password

REFUSED = [
    "",
    "s3://",
    "s3:///prefix",
    "s3:",
    "s3:/bucket",
    "s3:bucket",
    "s3://Bucket",
    "s3://no",
    "s3://a..b",
    "s3://-abc",
    "s3://abc_",
    "s3://127.0.0.1",
    "s3://bucket:9000/a",
    "s3://" + "a" * 64,
    "s3://bucket/a?b#c",
    "s3://bucket/a#c",
    "s3://bucket/a//b",
    "s3://bucket/../b",
    "s3://bucket?x",
    "gs://bucket/a",
    "file:///tmp/runs",
    "http://host/bucket",
    "a\0b",
    "a\nb",
    "\udc80",
]
FOLDERS = [
    "runs",
    "qu?ery",
    "per%20cent",
    "per%zz",
    "ha#sh",
    "with space",
    "a@b",
    "co:lon",
    "größe",
    "./s3:",
    "a;b",
]


@pytest.mark.parametrize("address", REFUSED)
@pytest.mark.parametrize("open_address", [open_store, Workspace.under])
def test_what_is_neither_a_folder_nor_a_bucket_is_refused_in_one_sentence(
    open_address, address, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        open_address(address)
    assert str(caught.value).startswith("store: ")
    assert "it must be a folder or s3://BUCKET/PREFIX" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_the_very_folder_of_that_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.under(name)
    workspace.federation().write("runs/a", b"x")
    workspace.client("ann").write("raw/b", b"y")
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {Path(name) / "federation/runs/a", Path(name) / "clients/ann/raw/b"}


def test_a_placeholder_in_the_root_is_refused():
    with pytest.raises(ConfigError, match=r"must not contain \{client\}"):
        Workspace.under("runs-{client}")


@pytest.mark.parametrize(
    ("address", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("S3://my-bucket.films/a/b/", "my-bucket.films", "a/b"),
        ("s3://bucket/per%20cent", "bucket", "per%20cent"),
        ("s3://bucket/größe @ 5", "bucket", "größe @ 5"),
    ],
)
def test_a_bucket_and_its_prefix_are_taken_as_they_are(address, bucket, prefix):
    assert parse_address(address) == BucketAddress(bucket, prefix)


_NAMES = st.text(string.ascii_letters + string.digits + "?#%:@;&=+ ~'\"\\{}ü", min_size=1, max_size=12)


@given(_NAMES)
@settings(deadline=None)
def test_any_name_is_that_folder_or_refused(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("any")
    with contextlib.chdir(root):
        try:
            store = open_store(name)
        except ConfigError:
            # Only what looks like an address.
            assert name.lower().startswith("s3:") or "://" in name
            return
        store.write("key", b"x")
    assert [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()] == [
        f"{name}/key"
    ]


@given(_NAMES.filter(lambda name: "?" not in name and "#" not in name))
@settings(deadline=None, max_examples=20)
def test_any_prefix_of_a_bucket_is_the_beginning_of_its_keys(s3_server, s3_client, bucket, name):
    """The server's own list of objects is the oracle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENDPOINT_VARIABLE, s3_server)
        store = open_store(f"s3://{bucket}/any/{name}")
        store.write("key", b"x")
        listed = {
            item.object_name
            for item in s3_client.list_objects(bucket_name=bucket, prefix="any/", recursive=True)
        }
        store.delete("key")
    assert listed == {f"any/{name}/key"}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:secret@host:9000",
        "https://user:sec/ret@host",
        "user:secret@host:9000",
        "http://user:se@cret@host/path?x=1",
    ],
)
def test_a_password_in_an_endpoint_is_refused_and_not_shown(monkeypatch, endpoint):
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    with pytest.raises(ConfigError) as caught:
        S3Store("bucket")
    message = str(caught.value)
    assert message.startswith(f"{ENDPOINT_VARIABLE}: ")
    assert "AWS_SECRET_ACCESS_KEY" in message
    assert not any(part in message for part in ("user", "sec", "cret"))


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://host?x=1",
        "http://host/?x",
        "http://host#a",
        "http://host:0",
        "http://host:70000",
        "http://host:a",
        "http://[::1",
        "http://[12]",
        "http://ho st",
        "http:///a",
        "http://host\n",
        "http://-",
        "//host",
        "host",
    ],
)
def test_an_endpoint_that_is_more_than_an_address_is_refused(monkeypatch, endpoint):
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    with pytest.raises(ConfigError, match=f"^{ENDPOINT_VARIABLE}: .*it must be http://HOST:PORT"):
        client_from_environment()


@given(st.text(string.ascii_letters + string.digits + ":/@?#[].-_ %", max_size=20))
def test_any_endpoint_is_used_as_it_is_or_refused(rest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENDPOINT_VARIABLE, f"http://{rest}")
        try:
            client = client_from_environment()
        except ConfigError:
            return
    assert isinstance(client, Minio)
    assert client._base_url.host == rest.rstrip("/")
    assert not client._base_url.is_https


def test_a_store_address_with_a_password_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as caught:
        open_store("http://user:secret@host/bucket")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://mlflow:secret@host/db", "postgresql://***@host/db"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("", ""),
        ("x://", "x://"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert without_password(address) == shown
