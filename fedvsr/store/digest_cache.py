"""Downloaded files by digest, in a folder of bounded size that outlives the process."""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fedvsr.errors import ConfigError
from fedvsr.store.base import check_digest, file_digest, require_digest

CACHE_VARIABLE = "FEDVSR_CACHE"
LIMIT_VARIABLE = "FEDVSR_CACHE_BYTES"
_DEFAULT_LIMIT = 8 << 30
# What is deleted at once, so that not every new file needs a look at all others.
_FREED_SHARE = 0.1
# Another process may be about to open a file that it was just given.
_MIN_AGE_SECONDS = 60.0


class DigestCache:
    """Files by their SHA-256. If they are more than the limit, those that were used longest ago are deleted.

    Several processes may use one folder. A file that is mapped into memory stays readable after its deletion.

    Args:
        folder: The folder; the first file creates it.
        most_bytes: The limit. One file that is larger is kept until the next one comes.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._size: int | None = None

    @classmethod
    def from_environment(cls) -> "DigestCache":
        """Returns the cache in FEDVSR_CACHE (default ``~/.cache/fedvsr``) of FEDVSR_CACHE_BYTES (8 GiB).

        Raises:
            fedvsr.errors.ConfigError: FEDVSR_CACHE_BYTES is not a number of at least 1.
        """
        folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "fedvsr")
        limit = os.environ.get(LIMIT_VARIABLE, "")
        if limit and not (limit.isascii() and limit.isdecimal() and int(limit)):
            raise ConfigError(LIMIT_VARIABLE, limit, "it must be a number of bytes, at least 1")
        return cls(folder, int(limit) if limit else _DEFAULT_LIMIT)

    def get(self, digest: str, name: str, download: Callable[[Path], None]) -> Path:
        """Returns a file with a digest, and downloads it if it is not there.

        Args:
            digest: The file's SHA-256.
            name: The object's name in an error.
            download: Writes the object's bytes to a path.

        Raises:
            fedvsr.errors.DataError: The digest is invalid, or the downloaded bytes have another one.
            OSError: The folder cannot be written.
        """
        target = self._folder / require_digest(digest)
        # A crash may have cut the cached file short, so it is checked again.
        with suppress(FileNotFoundError):
            if file_digest(target) == digest:
                # The time of a file's last use.
                os.utime(target)
                return target
        part = self._folder / f"{digest}.{uuid.uuid4().hex}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            download(part)
            check_digest(part, digest, name)
            self._make_room(part.stat().st_size)
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return target

    def _make_room(self, size: int) -> None:
        """Deletes files until a new one fits."""
        if self._size is not None and self._size + size <= self._most_bytes:
            self._size += size
            return
        files = []
        for path in self._folder.iterdir():
            # Another process may delete it at the same time.
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.is_file() and not path.name.endswith(".part"):
                    files.append((status.st_mtime, status.st_size, path))
        self._size = sum(file_size for _, file_size, _ in files) + size
        if self._size <= self._most_bytes:
            return
        newest = time.time() - _MIN_AGE_SECONDS
        for used, file_size, path in sorted(files):
            if self._size <= (1 - _FREED_SHARE) * self._most_bytes or used > newest:
                return
            path.unlink(missing_ok=True)
            self._size -= file_size
