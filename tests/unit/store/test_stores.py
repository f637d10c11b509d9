"""The behaviour that all stores have in common."""

import hashlib
from pathlib import Path

import pytest

from fedvsr.errors import DataError, NotFoundError, StoreError
from fedvsr.store.base import Store
from fedvsr.store.workspace import open_store

NO_KEYS = ["", "/", "/etc/passwd", "..", "../outside", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b"]


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"text", bytes(range(256)) * 1000])
def test_an_object_reads_back_as_written(store: Store, data: bytes):
    store.write("runs/demo/object", data)
    assert store.read("runs/demo/object") == data
    assert store.size("runs/demo/object") == len(data)
    assert store.exists("runs/demo/object")


def test_a_write_replaces_an_existing_object(store: Store):
    store.write("key", b"a longer first version")
    store.write("key", b"second")
    assert store.read("key") == b"second"
    assert store.size("key") == 6


def test_an_uploaded_file_is_an_object(store: Store, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    store.upload("a/b/c", path)
    assert store.read("a/b/c") == path.read_bytes()


@pytest.mark.parametrize("method", ["read", "size", "fingerprint"])
@pytest.mark.parametrize("key", ["none", "folder", "folder/object/below"])
def test_a_missing_object_is_an_error_with_its_key(store: Store, method: str, key: str):
    store.write("folder/object", b"x")
    with pytest.raises(NotFoundError, match=f"no object '{key}' in "):
        getattr(store, method)(key)
    assert not store.exists(key)


def test_a_local_copy_has_the_objects_bytes(store: Store):
    store.write("key", b"bytes")
    path = store.local("key", digest_of(b"bytes"))
    assert path.read_bytes() == b"bytes"
    assert store.local("key", digest_of(b"bytes")) == path


def test_a_local_copy_of_a_missing_object_is_an_error(store: Store):
    with pytest.raises(NotFoundError):
        store.local("none", digest_of(b"bytes"))


def test_a_local_copy_with_another_digest_is_refused(store: Store):
    store.write("folder/key", b"changed bytes")
    with pytest.raises(DataError, match=r"folder/key: expected SHA-256 .* changed or cut short"):
        store.local("folder/key", digest_of(b"bytes"))


@pytest.mark.parametrize("digest", ["/proc/x", "../../x", "a" * 300, "x\0y", "", "A" * 64, "0" * 64 + "\n"])
def test_an_invalid_digest_never_becomes_a_file_name(store: Store, digest: str):
    store.write("key", b"bytes")
    with pytest.raises(DataError, match="is not a SHA-256"):
        store.local("key", digest)


def test_the_caller_may_change_a_downloaded_file(store: Store, tmp_path: Path):
    store.write("folder/key", b"bytes" * 1000)
    path = tmp_path / "here"
    store.download("folder/key", path)
    path.write_bytes(path.read_bytes() + b"more")
    assert store.read("folder/key") == b"bytes" * 1000


def test_a_download_of_a_missing_object_is_an_error_and_leaves_no_file(store: Store, tmp_path: Path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    with pytest.raises(NotFoundError):
        store.download("none", folder / "here")
    assert list(folder.iterdir()) == []


def test_a_download_that_cannot_be_written_is_a_store_error(store: Store, tmp_path: Path):
    store.write("key", b"bytes")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"/file"):
        store.download("key", tmp_path / "file" / "below")


def test_a_fingerprint_changes_with_the_bytes_and_only_with_them(store: Store):
    store.write("first", b"bytes")
    store.write("second", b"bytes")
    before = store.fingerprint("first")
    assert store.fingerprint("second") == before
    store.write("first", b"bytes")
    assert store.fingerprint("first") == before
    store.write("first", b"other")
    assert store.fingerprint("first") != before


def test_keys_are_sorted_and_start_with_the_prefix(store: Store):
    for key in ("b/2", "b/10", "a", "b.c", "b/1/x", "bb/1", "Z", "b/é"):
        store.write(key, b"")
    assert list(store.keys("")) == ["Z", "a", "b.c", "b/1/x", "b/10", "b/2", "b/é", "bb/1"]
    assert list(store.keys("b/")) == ["b/1/x", "b/10", "b/2", "b/é"]
    assert list(store.keys("b/1")) == ["b/1/x", "b/10"]
    assert list(store.keys("none/")) == []


def test_an_empty_store_has_no_keys(store: Store):
    assert list(store.keys("")) == []


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: Store):
    store.write("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("a/b/c")
    assert not store.exists("a/b")
    assert list(store.keys("")) == []


@pytest.mark.parametrize("key", NO_KEYS)
def test_every_method_refuses_an_invalid_key(store: Store, key: str, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    calls = [
        lambda: store.read(key),
        lambda: store.write(key, b"x"),
        lambda: store.upload(key, path),
        lambda: store.local(key, digest_of(b"x")),
        lambda: store.download(key, path),
        lambda: store.fingerprint(key),
        lambda: store.exists(key),
        lambda: store.size(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"is not a key"):
            call()


@pytest.mark.parametrize("prefix", ["/", "/etc/", "..", "../", "a/../b/", "a//", "."])
def test_an_invalid_prefix_is_refused(store: Store, prefix: str):
    with pytest.raises(StoreError, match=r"begins no key"):
        list(store.keys(prefix))


def test_stores_at_two_addresses_do_not_see_each_other(store: Store):
    beside = open_store(store.uri + "-beside")
    store.write("key", b"one")
    assert not beside.exists("key")
    assert list(beside.keys("")) == []
    assert open_store(store.uri).read("key") == b"one"
