"""Remembers the digests of video files, so that a large collection is not read whole every time."""

import time
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from fedvsr.errors import NotFoundError, RecordError
from fedvsr.federation.records import Digest, Record, read_record, write_record
from fedvsr.store.base import file_digest
from fedvsr.store.local import LocalStore

# A file that changed this recently may change again within the same tick of the file system's clock.
_MIN_AGE_NS = 2_000_000_000


class FingerprintsRecord(Record):
    """The digest of each file by its path, with the file's size, times and number when it was read."""

    what: ClassVar[str] = "record of fingerprints"

    files: dict[str, tuple[tuple[int, ...], Digest]] = Field(default_factory=dict)


class FingerprintCache:
    """The SHA-256 of files that have been read before.

    A file counts as unchanged if its size, the times of its last change (of content and of metadata), and its
    number on its device are the same. Someone who sets all of these back by hand goes unnoticed. `save` keeps
    the files that were asked for since the cache was opened.

    Args:
        path: The file of the cache. It need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._store, self._key = LocalStore(path.parent), path.name
        try:
            self._before = dict(read_record(self._store, self._key, FingerprintsRecord).files)
        except (NotFoundError, RecordError):
            # It only saves time.
            self._before = {}
        self._now: dict[str, tuple[tuple[int, ...], str]] = {}

    def digest(self, path: Path) -> str:
        """Returns a file's SHA-256. Raises OSError if it cannot be read."""
        state, name = _state(path), str(path)
        known = self._before.get(name)
        digest = known[1] if known and tuple(known[0]) == state else file_digest(path)
        if _state(path) == state and time.time_ns() - state[1] > _MIN_AGE_NS:
            self._now[name] = (state, digest)
        return digest

    def save(self) -> None:
        """Writes the cache. Raises `fedvsr.errors.StoreError` if that fails."""
        # A name that is no valid Unicode cannot be written as JSON.
        files = {name: entry for name, entry in self._now.items() if name.isprintable()}
        write_record(self._store, self._key, FingerprintsRecord(files=files))


def _state(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


def recent_digest(path: Path) -> str:
    """Returns a file's SHA-256, and reads the file once in this process. Raises OSError if it cannot be read.

    It counts as unchanged as in a `FingerprintCache`.
    """
    state = _state(path)
    if time.time_ns() - state[1] <= _MIN_AGE_NS:
        return file_digest(path)
    return _digest_in_state(path, state)


@lru_cache(maxsize=1024)
def _digest_in_state(path: Path, state: tuple[int, ...]) -> str:
    return file_digest(path)
