"""A store in a local folder."""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fedvsr.errors import NotFoundError, StoreError
from fedvsr.store.base import (
    OnBytes,
    Store,
    check_digest,
    file_digest,
    require_digest,
    require_key,
    require_prefix,
)

# A hidden file with this suffix is not an object. It is being written, or its writer died.
_PART = ".part"
# The errors if a path does not lead to a file.
_NO_OBJECT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStore(Store):
    """Objects as files in a folder. The first write creates the folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def uri(self) -> str:
        return str(self.root)

    def read(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except _NO_OBJECT:
            raise NotFoundError(key, self.uri) from None
        except OSError as error:
            raise StoreError(f"cannot read {self._path(key)}: {error.strerror or error}") from error

    def write(self, key: str, data: bytes) -> None:
        self._replace(key, lambda file: file.write(data))

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        with path.open("rb") as source:
            self._replace(key, lambda file: shutil.copyfileobj(source, file, 1 << 20))
        _tell_all(path, on_bytes)

    def local(self, key: str, digest: str) -> Path:
        require_digest(digest)
        path = self._path(key)
        if not path.is_file():
            raise NotFoundError(key, self.uri)
        try:
            check_digest(path, digest, str(path))
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
        return path

    def fetch(self, key: str, folder: Path) -> Path:
        if not self.exists(key):
            raise NotFoundError(key, self.uri)
        return self._path(key)

    def is_damaged(self, key: str, digest: str) -> bool:
        return self.fingerprint(key) != digest

    def download(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        if not self.exists(key):
            raise NotFoundError(key, self.uri)
        try:
            shutil.copyfile(self._path(key), path)
        except OSError as error:
            raise StoreError(f"cannot copy {self._path(key)} to {path}: {error.strerror or error}") from error
        _tell_all(path, on_bytes)

    def fingerprint(self, key: str) -> str:
        if not self.exists(key):
            raise NotFoundError(key, self.uri)
        return file_digest(self._path(key))

    def age(self, key: str) -> float:
        if not self.exists(key):
            raise NotFoundError(key, self.uri)
        return max(0.0, time.time() - self._path(key).stat().st_mtime)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        if not self.exists(key):
            raise NotFoundError(key, self.uri)
        return self._path(key).stat().st_size

    def keys(self, prefix: str) -> Iterator[str]:
        # Only the folder that the prefix names is walked, not the whole store.
        start = self.root / require_prefix(prefix).rpartition("/")[0]
        files = (path for path in start.rglob("*") if path.is_file() and not _is_part(path))
        keys = (path.relative_to(self.root).as_posix() for path in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except _NO_OBJECT:
            return
        except OSError as error:
            raise StoreError(f"cannot delete {self._path(key)}: {error.strerror or error}") from error

    def _path(self, key: str) -> Path:
        return self.root / require_key(key)

    def _replace(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        target = self._path(key)
        # Without the object's name, which may be as long as the file system allows.
        part = target.with_name(f".{uuid.uuid4().hex}{_PART}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except OSError as error:
            raise StoreError(
                f"cannot write {target}: {error.strerror or error}; nothing was left behind, "
                "so make room or fix the permissions and run the step again"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _tell_all(path: Path, on_bytes: OnBytes | None) -> None:
    if on_bytes:
        size = path.stat().st_size
        on_bytes(size, size)


def _is_part(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == _PART
