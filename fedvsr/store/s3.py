"""A store in an S3 bucket. Only the modules `s3` and `s3_*` of this package import minio and urllib3."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast

from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from fedvsr.errors import NotFoundError, StoreError
from fedvsr.store.bandwidth import Bandwidth
from fedvsr.store.base import (
    OnBytes,
    Store,
    require_key,
    require_prefix,
)
from fedvsr.store.connection import S3Connection
from fedvsr.store.digest_cache import DigestCache
from fedvsr.store.s3_connection import client_from_environment, client_of
from fedvsr.store.s3_errors import Place
from fedvsr.store.s3_transfer import Transfers


class S3Store(Store):
    """Objects under a prefix in a bucket of any S3 server.

    ``FEDVSR_S3_ENDPOINT`` is the server's address (``http://host:port``); if it is not set, the server is
    Amazon's. ``FEDVSR_S3_CA`` may hold the PEM text of a private certificate authority. The credentials come
    from the usual variables and files (``AWS_ACCESS_KEY_ID``, ``MINIO_ACCESS_KEY``, ``~/.aws/credentials``,
    a pod's role). Downloads are cached by digest (`fedvsr.store.digest_cache`).

    Args:
        bucket: The bucket. It must exist.
        prefix: The prefix of every key inside the bucket; empty for the whole bucket.
        client: The connection to the server; None for that of `client_from_environment`.
    """

    def __init__(self, bucket: str, prefix: str = "", client: Minio | None = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self._client = client or client_from_environment()
        self._transfers = Transfers(self._client)
        self._place = Place(bucket)
        self._cache = DigestCache.from_environment()

    @classmethod
    def connect(
        cls,
        connection: S3Connection,
        bucket: str,
        *,
        patience_seconds: float = 0.0,
        bytes_per_second: int = 0,
        resume_folder: Path | None = None,
    ) -> "S3Store":
        """Opens a bucket by an explicit address and keys.

        Args:
            connection: The server and the keys.
            bucket: The bucket.
            patience_seconds: How long a request that the network fails is tried again without progress.
            bytes_per_second: Most bytes a second, in both directions together; 0 for no limit.
            resume_folder: Where the state of transfers is kept, so that another process goes on with them.

        Raises:
            fedvsr.errors.ConfigError: The address is invalid.
        """
        bandwidth = Bandwidth(bytes_per_second)
        store = cls(bucket, client=client_of(connection, bandwidth))
        store._transfers = Transfers(store._client, patience_seconds, bandwidth, resume_folder)
        store._place = Place(bucket, connection)
        return store

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, key: str) -> bytes:
        def attempt() -> bytes:
            response = self._client.get_object(bucket_name=self.bucket, object_name=self._name(key))
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

        with self._translating_errors("read", key):
            return self._transfers.patiently(attempt)

    def write(self, key: str, data: bytes) -> None:
        with self._translating_errors("write", key):
            self._transfers.write(self.bucket, self._name(key), data)

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        with self._translating_errors("write", key):
            self._transfers.upload(self.bucket, self._name(key), path, on_bytes)

    def local(self, key: str, digest: str) -> Path:
        try:
            return self._cache.get(digest, f"{self.uri}/{key}", lambda path: self.download(key, path))
        except OSError as error:
            raise StoreError(_not_written(Path(error.filename or "the cache"), error)) from error

    def fetch(self, key: str, folder: Path) -> Path:
        path = folder / uuid.uuid4().hex
        self.download(key, path)
        return path

    def is_damaged(self, key: str, digest: str) -> bool:
        return False

    def download(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        try:
            with self._translating_errors("read", key):
                self._transfers.download(self.bucket, self._name(key), path, on_bytes)
        except OSError as error:
            raise StoreError(_not_written(path, error)) from error

    def fingerprint(self, key: str) -> str:
        return str(self._stat(key).etag)

    def age(self, key: str) -> float:
        item = self._stat(key)
        now = parsedate_to_datetime(str((item.metadata or {})["date"]))
        written = cast("datetime", item.last_modified)
        return max(0.0, (now - written).total_seconds())

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        return int(self._stat(key).size or 0)

    def keys(self, prefix: str) -> Iterator[str]:
        start = len(self.prefix) + 1 if self.prefix else 0
        name = self._prefixed(require_prefix(prefix))
        with self._translating_errors("list", prefix):
            for item in self._transfers.list_names(self.bucket, name):
                yield item[start:]

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._translating_errors("delete", key):
            self._transfers.patiently(
                lambda: self._client.remove_object(bucket_name=self.bucket, object_name=name)
            )

    def _stat(self, key: str) -> Object:
        name = self._name(key)
        with self._translating_errors("read", key):
            return self._transfers.patiently(
                lambda: self._client.stat_object(bucket_name=self.bucket, object_name=name)
            )

    def _name(self, key: str) -> str:
        return self._prefixed(require_key(key))

    def _prefixed(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _translating_errors(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (MinioException, HTTPError, ValueError) as error:
            raise self._place.translated(error, f"cannot {verb} {self.uri}/{key}", key, self.uri) from error


def _not_written(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror or error}; make room there"
