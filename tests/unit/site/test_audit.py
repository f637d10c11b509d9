"""The audit log: what an auditor relies on."""

import csv
import multiprocessing
from pathlib import Path

import pytest

from fedvsr.errors import NotFoundError, SiteError
from fedvsr.site.audit import AuditedStore, AuditLog, audit_csv
from fedvsr.store.base import bytes_digest
from fedvsr.store.local import LocalStore


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit")


@pytest.fixture
def store(tmp_path: Path, log: AuditLog) -> AuditedStore:
    return AuditedStore(LocalStore(tmp_path / "federation"), log, tmp_path / "downloads")


def append_many(folder: Path, name: str) -> None:
    log = AuditLog(folder)
    for number in range(20):
        log.append("sent", f"{name}/{number}", number, bytes_digest(b""))


def test_every_way_of_sending_and_reading_is_logged(store: AuditedStore, log: AuditLog, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    store.write("a.json", b"{}")
    store.upload("b.safetensors", file)
    assert store.read("a.json") == b"{}"
    assert store.read("b.safetensors") == b"weights"
    store.download("b.safetensors", tmp_path / "copy")
    store.fetch("a.json", tmp_path)
    digest = bytes_digest(b"weights")
    assert store.local("b.safetensors", digest).read_bytes() == b"weights"
    assert [(entry.direction, entry.key, entry.bytes) for entry in log.entries()] == [
        ("sent", "a.json", 2),
        ("sent", "b.safetensors", 7),
        ("read", "a.json", 2),
        ("read", "b.safetensors", 7),
        ("read", "b.safetensors", 7),
        ("read", "a.json", 2),
        ("read", "b.safetensors", 7),
    ]
    assert {entry.sha256 for entry in log.entries() if entry.key.startswith("b")} == {digest}


def test_what_is_kept_on_this_machine_is_not_read_again(store: AuditedStore, log: AuditLog):
    store.write("a", b"x")
    for _ in range(2):
        store.local("a", bytes_digest(b"x"))
    assert [entry.direction for entry in log.entries()] == ["sent", "read"]


def test_an_object_that_does_not_exist_was_not_read(store: AuditedStore, log: AuditLog):
    with pytest.raises(NotFoundError):
        store.read("missing")
    assert list(log.entries()) == []


def test_nothing_is_sent_if_the_log_cannot_be_written(store: AuditedStore, tmp_path: Path):
    (tmp_path / "audit").write_bytes(b"a file where the folder must be")
    with pytest.raises(SiteError, match="nothing is sent"):
        store.write("a", b"x")
    assert list(store.keys("")) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0].replace(b'"bytes": 1', b'"bytes": 9'), *lines[1:]],
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [*lines, b"{}"],
        lambda lines: [*lines, lines[-1]],
    ],
    ids=["changed", "removed", "reordered", "no entry", "repeated"],
)
def test_a_log_that_was_changed_is_noticed(log: AuditLog, tmp_path: Path, damage):
    for size in (1, 2, 3):
        log.append("sent", "key", size, bytes_digest(b""))
    (path,) = (tmp_path / "audit").glob("*.jsonl")
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(SiteError, match=r"jsonl:\d"):
        list(log.entries())


def test_agent_and_worker_write_to_one_chain(tmp_path: Path, log: AuditLog):
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=append_many, args=(tmp_path / "audit", name)) for name in ("agent", "worker")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(list(log.entries())) == 40


def test_csv_reads_back(log: AuditLog):
    log.append("sent", 'a,"b"\n', 1, bytes_digest(b""))
    heading, *rows = csv.reader(audit_csv(log.entries()))
    assert heading == ["time", "direction", "key", "bytes", "sha256", "previous"]
    assert rows[0][1:4] == ["sent", 'a,"b"\n', "1"]
