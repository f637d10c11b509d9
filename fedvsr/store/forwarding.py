"""A store that passes every call on to another, as the base of stores that change a few of them."""

from collections.abc import Iterator
from pathlib import Path

from fedvsr.store.base import OnBytes, Store


class ForwardingStore(Store):
    """Another store, unless a subclass says otherwise.

    Args:
        store: The other store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        return self._store.uri

    def read(self, key: str) -> bytes:
        return self._store.read(key)

    def write(self, key: str, data: bytes) -> None:
        self._store.write(key, data)

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        self._store.upload(key, path, on_bytes)

    def local(self, key: str, digest: str) -> Path:
        return self._store.local(key, digest)

    def fetch(self, key: str, folder: Path) -> Path:
        return self._store.fetch(key, folder)

    def is_damaged(self, key: str, digest: str) -> bool:
        return self._store.is_damaged(key, digest)

    def download(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        self._store.download(key, path, on_bytes)

    def fingerprint(self, key: str) -> str:
        return self._store.fingerprint(key)

    def age(self, key: str) -> float:
        return self._store.age(key)

    def exists(self, key: str) -> bool:
        return self._store.exists(key)

    def size(self, key: str) -> int:
        return self._store.size(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._store.keys(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)
