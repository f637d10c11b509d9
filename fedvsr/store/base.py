"""The interface of an object store, and checks of keys and digests."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from fedvsr.errors import DataError, StoreError

DIGEST_PATTERN: Final = r"^[0-9a-f]{64}$"
_DIGEST = re.compile(DIGEST_PATTERN)

OnBytes = Callable[[int, int], None]
"""Receives the number of bytes that have been transferred, and the number of all."""


class Store(ABC):
    """A flat map from keys to bytes.

    Keys are relative POSIX paths (``runs/demo/config.json``) without empty, ``.`` or ``..`` parts, so that a
    key means the same object in a folder and in a bucket. Writes are atomic: a reader sees the whole object
    or none, and a writer that dies leaves nothing behind. Every method raises `fedvsr.errors.StoreError` if
    the store fails, and `fedvsr.errors.NotFoundError` if the object does not exist.
    """

    @property
    @abstractmethod
    def uri(self) -> str:
        """The store's address, which `fedvsr.store.workspace.open_store` accepts."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Returns the object's bytes."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Writes an object, and replaces an existing one."""

    @abstractmethod
    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        """Writes a file's bytes as an object without holding them in memory."""

    @abstractmethod
    def local(self, key: str, digest: str) -> Path:
        """Returns a local file with the object's bytes, whose SHA-256 is ``digest``.

        The caller must not change the file, and may memory-map it. A remote store downloads the object once,
        into a cache by digest.

        Raises:
            fedvsr.errors.DataError: The bytes have another digest, or the digest is invalid.
        """

    @abstractmethod
    def fetch(self, key: str, folder: Path) -> Path:
        """Returns a local file with the object's bytes. The caller checks their digest.

        The caller must not change the file. A remote store downloads the object into ``folder``.
        """

    @abstractmethod
    def is_damaged(self, key: str, digest: str) -> bool:
        """Returns whether the object's bytes are known to differ from their SHA-256, without a download.

        A local store compares them. A remote store returns False, because it keeps its own checksums.
        """

    @abstractmethod
    def download(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        """Copies the object's bytes to a new file without holding them in memory."""

    @abstractmethod
    def fingerprint(self, key: str) -> str:
        """Returns a string that changes if the object's bytes change, without a download.

        In S3 it is the ETag, in a folder the file's SHA-256.
        """

    @abstractmethod
    def age(self, key: str) -> float:
        """Returns the seconds since the object was written, by the store's clock.

        In S3 both moments are the server's, with a resolution of a second. So the clocks of those who wrote
        and who read the object do not matter.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Returns whether an object has that key."""

    @abstractmethod
    def size(self, key: str) -> int:
        """Returns the object's size in bytes."""

    @abstractmethod
    def keys(self, prefix: str) -> Iterator[str]:
        """Yields the keys that start with ``prefix``, sorted."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Deletes an object if it exists."""


def require_key(key: str) -> str:
    """Returns the key if it is valid.

    Raises:
        fedvsr.errors.StoreError: It is invalid.
    """
    if not _parts_are_names(key.split("/")):
        raise StoreError(f"{key!r} is not a key: keys are relative paths without empty parts, '.' and '..'")
    return key


def require_prefix(prefix: str) -> str:
    """Returns the prefix if it is empty or keys can start with it.

    Raises:
        fedvsr.errors.StoreError: It is invalid.
    """
    *folders, start = prefix.split("/")
    if not _parts_are_names(folders) or start in {".", ".."}:
        raise StoreError(
            f"{prefix!r} begins no key: keys are relative paths without empty parts, '.' and '..'"
        )
    return prefix


def _parts_are_names(parts: list[str]) -> bool:
    return all(part not in {"", ".", ".."} and "\0" not in part for part in parts)


def require_digest(digest: str) -> str:
    """Returns the digest if it is 64 hexadecimal digits.

    It may come from a client and becomes a file name in the cache, so it must not contain a path.

    Raises:
        fedvsr.errors.DataError: It is invalid.
    """
    if not _DIGEST.fullmatch(digest):
        raise DataError(
            f"{digest[:80]!r} is not a SHA-256 (64 hexadecimal digits); the record that names it was "
            "changed, so delete it and run the step that wrote it again"
        )
    return digest


def file_digest(path: Path) -> str:
    """Returns a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_digest(data: bytes) -> str:
    """Returns the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check_digest(path: Path, digest: str, name: str) -> None:
    """Checks a file against its digest.

    Args:
        path: The file.
        digest: The SHA-256 that it must have.
        name: The file's name in an error.

    Raises:
        fedvsr.errors.DataError: It has another digest.
    """
    _compare_digests(digest, file_digest(path), name)


def check_bytes(data: bytes, digest: str, name: str) -> None:
    """Checks bytes against their digest, as `check_digest` checks a file."""
    _compare_digests(digest, bytes_digest(data), name)


def _compare_digests(expected: str, actual: str, name: str) -> None:
    if actual != expected:
        raise DataError(
            f"{name}: expected SHA-256 {expected}, found {actual}; the object was changed or cut short, "
            "so delete it and run the step that wrote it again"
        )
