"""The store in a folder: its files, and full disks."""

import errno
import os
from pathlib import Path

import pytest

from fedvsr.errors import StoreError
from fedvsr.store.local import LocalStore


class Killed(BaseException):
    """The process ends here."""


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"new" * 1000)
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda store, source: store.write("runs/demo/object", source.read_bytes()),
        lambda store, source: store.upload("runs/demo/object", source),
    ],
    ids=["write", "upload"],
)
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_leaves_only_the_old_object(
    local_store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch, write, before: bytes | None
):
    if before is not None:
        local_store.write("runs/demo/object", before)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StoreError, match=r"cannot write .*object: No space left on device; nothing was left"):
        write(local_store, source)
    monkeypatch.undo()
    assert files_below(local_store.root) == ([] if before is None else ["runs/demo/object"])
    assert before is None or local_store.read("runs/demo/object") == before


def test_a_device_without_room_is_a_store_error(local_store: LocalStore, tmp_path: Path, monkeypatch):
    # A real write() to /dev/full fails as on a full disk, so no mock is needed.
    real = Path.open

    def open_full(path: Path, mode: str = "r", *arguments, **keywords):
        return real(Path("/dev/full") if mode == "wb" else path, mode, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(StoreError, match=r"No space left on device"):
        local_store.write("object", b"x" * 100_000)
    monkeypatch.undo()
    assert files_below(local_store.root) == []


def test_a_kill_in_the_middle_of_a_write_leaves_the_object_as_it_was(local_store: LocalStore, monkeypatch):
    local_store.write("object", b"old")

    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(Killed):
        local_store.write("object", b"new")
    assert local_store.read("object") == b"old"


def test_the_partial_file_of_a_dead_writer_is_not_an_object(local_store: LocalStore):
    local_store.write("folder/object", b"x")
    (local_store.root / "folder" / ".object.0123.part").write_bytes(b"half")
    assert list(local_store.keys("")) == ["folder/object"]


def test_a_key_may_end_like_a_half_written_file(local_store: LocalStore):
    local_store.write("talk.part", b"x")
    assert list(local_store.keys("")) == ["talk.part"]


def test_a_file_in_a_folders_place_is_a_store_error(local_store: LocalStore):
    local_store.write("object", b"x")
    with pytest.raises(StoreError, match=r"cannot write .*object/below"):
        local_store.write("object/below", b"x")
    assert local_store.read("object") == b"x"


def test_a_store_in_a_missing_folder_is_empty(tmp_path: Path):
    store = LocalStore(tmp_path / "none")
    assert list(store.keys("")) == []
    assert not store.exists("object")
    assert not (tmp_path / "none").exists()


def test_a_relative_folder_stays_the_same_when_the_working_folder_changes(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path("here"))
    store.write("object", b"x")
    monkeypatch.chdir("/")
    assert store.read("object") == b"x"
