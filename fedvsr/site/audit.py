"""The site's append-only log of every object that was sent to the federation or read from it."""

import csv
import fcntl
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fedvsr.errors import SiteError
from fedvsr.store.base import OnBytes, Store, bytes_digest, check_digest, file_digest, require_digest
from fedvsr.store.forwarding import ForwardingStore

Direction = Literal["sent", "read"]

# What the first line of a log refers to.
_NO_LINE = "0" * 64
_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class AuditEntry:
    """A line of the log.

    Attributes:
        time: The moment in UTC, as ISO 8601, by the site's clock.
        direction: ``sent`` or ``read``.
        key: The object's key in the federation's bucket.
        bytes: Its size.
        sha256: The SHA-256 of its bytes.
        previous: The SHA-256 of the line before, so that a line that was changed or removed is noticed.
    """

    time: str
    direction: Direction
    key: str
    bytes: int
    sha256: str
    previous: str


class AuditLog:
    """The log in a folder: one file of JSON lines per month. Agent and worker write to it in turn.

    Args:
        folder: The folder. The first entry creates it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, direction: Direction, key: str, size: int, digest: str) -> None:
        """Writes an entry to the disk before it returns.

        Raises:
            fedvsr.errors.SiteError: It cannot be written, so nothing more may be sent.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                now = datetime.now(UTC)
                line = _last_line(self._files())
                previous = bytes_digest(line) if line else _NO_LINE
                stamp = now.isoformat(timespec="milliseconds")
                entry = AuditEntry(stamp, direction, key, size, digest, previous)
                with (self._folder / f"{now:%Y-%m}.jsonl").open("ab") as file:
                    file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise SiteError(
                f"the audit log in {self._folder} cannot be written ({error.strerror}); nothing is sent "
                "without it, so make room or fix the permissions"
            ) from error

    def entries(self) -> Iterator[AuditEntry]:
        """Yields the entries, oldest first.

        Raises:
            fedvsr.errors.SiteError: A line was changed, removed or added by another program.
        """
        previous = _NO_LINE
        for path in self._files():
            for number, line in enumerate(path.read_bytes().splitlines(), start=1):
                try:
                    entry = AuditEntry(**json.loads(line))
                except (ValueError, TypeError):
                    raise SiteError(f"{path}:{number} is no entry; the log was changed by hand") from None
                if entry.previous != previous:
                    raise SiteError(
                        f"{path}:{number} does not follow the line before; lines were changed or removed"
                    )
                previous = bytes_digest(line)
                yield entry

    def last_digest(self) -> str:
        """Returns the SHA-256 of the last line without its end. Noted elsewhere, it shows later cuts."""
        return bytes_digest(_last_line(self._files()))

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))


def audit_csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """Yields the lines of a CSV file (RFC 4180) with a heading, without line ends."""
    for values in ([field.name for field in fields(AuditEntry)], *map(astuple, entries)):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(values)
        yield line.getvalue()


def _last_line(files: list[Path]) -> bytes:
    """Returns the last line of the newest file without its end; empty if there is none."""
    for path in reversed(files):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A key has at most 1024 bytes, so a line is shorter than this.
            file.seek(max(0, size - 8192))
            lines = file.read().splitlines()
        if lines:
            return lines[-1]
    return b""


class AuditedStore(ForwardingStore):
    """The federation's store, with an entry in the log for every object that is sent or read.

    Weights are read by way of a file, so that a download that breaks off goes on where it was.

    Args:
        store: The federation's store.
        log: The log.
        downloads: The folder for objects that are being read.
    """

    def __init__(self, store: Store, log: AuditLog, downloads: Path) -> None:
        super().__init__(store)
        self._log, self._downloads = log, downloads

    def read(self, key: str) -> bytes:
        if key.endswith(_WEIGHTS):
            path = self._downloads / hashlib.sha256(key.encode()).hexdigest()
            try:
                self.download(key, path)
                return path.read_bytes()
            finally:
                path.unlink(missing_ok=True)
        data = self._store.read(key)
        self._log.append("read", key, len(data), bytes_digest(data))
        return data

    def write(self, key: str, data: bytes) -> None:
        # Before it is sent: what could have left must be in the log.
        self._log.append("sent", key, len(data), bytes_digest(data))
        self._store.write(key, data)

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        self._log.append("sent", key, path.stat().st_size, file_digest(path))
        self._store.upload(key, path, on_bytes)

    def download(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store.download(key, path, on_bytes)
        self._log.append("read", key, path.stat().st_size, file_digest(path))

    def local(self, key: str, digest: str) -> Path:
        target = self._downloads / require_digest(digest)
        if not (target.is_file() and file_digest(target) == digest):
            self.download(key, target)
            check_digest(target, digest, f"{self.uri}/{key}")
        return target

    def fetch(self, key: str, folder: Path) -> Path:
        path = folder / uuid.uuid4().hex
        self.download(key, path)
        return path
