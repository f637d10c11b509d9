"""A store in an S3 bucket. Only this module and `s3_admin` import minio."""

import io
import ipaddress
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
)
from minio.datatypes import Object
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError, MaxRetryError

from fedvsr.errors import AccessDeniedError, ConfigError, NotFoundError, StoreError
from fedvsr.store.base import Store, check_digest, file_digest, require_digest, require_key, require_prefix
from fedvsr.text import without_password

ENDPOINT_VARIABLE = "FEDVSR_S3_ENDPOINT"
# PEM text of a private certificate authority. A variable needs no file in the pods of every namespace.
CA_VARIABLE = "FEDVSR_S3_CA"
CACHE_VARIABLE = "FEDVSR_CACHE"
# A host's name, an IPv4 address, or an IPv6 address in brackets.
_ENDPOINT = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<address>([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[(?P<ipv6>[^]]*)\])(:(?P<port>\d{1,5}))?)/?",
    re.IGNORECASE | re.ASCII,
)
# Part size of a multipart upload of unknown length; S3 takes 5 MiB to 5 GiB.
_PART_BYTES = 16 << 20
# A server that cannot be reached is an error within seconds. The library's default is half an hour.
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 60.0
_METADATA_SECONDS = 2.0


class S3Store(Store):
    """Objects under a prefix in a bucket of any S3 server.

    ``FEDVSR_S3_ENDPOINT`` is the server's address (``http://host:port``); if it is not set, the server is
    Amazon's. ``FEDVSR_S3_CA`` may hold the PEM text of a private certificate authority. The credentials come
    from the usual variables and files (``AWS_ACCESS_KEY_ID``, ``MINIO_ACCESS_KEY``, ``~/.aws/credentials``,
    a pod's role). Downloads are cached by digest in ``FEDVSR_CACHE`` (default ``~/.cache/fedvsr``).

    Args:
        bucket: The bucket. It must exist.
        prefix: The prefix of every key inside the bucket; empty for the whole bucket.
        client: The connection to the server; None for that of `client_from_environment`.
    """

    def __init__(self, bucket: str, prefix: str = "", client: Minio | None = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self._client = client or client_from_environment()

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, key: str) -> bytes:
        with self._translating_errors("read", key):
            response = self._client.get_object(bucket_name=self.bucket, object_name=self._name(key))
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

    def write(self, key: str, data: bytes) -> None:
        with self._translating_errors("write", key):
            self._client.put_object(
                bucket_name=self.bucket,
                object_name=self._name(key),
                data=io.BytesIO(data),
                length=len(data),
            )

    def upload(self, key: str, path: Path) -> None:
        with self._translating_errors("write", key):
            self._client.fput_object(
                bucket_name=self.bucket,
                object_name=self._name(key),
                file_path=str(path),
                part_size=_PART_BYTES,
            )

    def local(self, key: str, digest: str) -> Path:
        cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "fedvsr")
        target = cache / require_digest(digest)
        # A crash may have cut the cached file short, so it is checked again.
        if target.is_file() and file_digest(target) == digest:
            return target
        part = cache / f"{digest}.{uuid.uuid4().hex}.part"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            self.download(key, part)
            check_digest(part, digest, f"{self.uri}/{key}")
            part.replace(target)
        except OSError as error:
            raise StoreError(_not_written(target, error)) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return target

    def fetch(self, key: str, folder: Path) -> Path:
        path = folder / uuid.uuid4().hex
        self.download(key, path)
        return path

    def is_damaged(self, key: str, digest: str) -> bool:
        return False

    def download(self, key: str, path: Path) -> None:
        # Without the file's name, which may be as long as the file system allows.
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self._translating_errors("read", key):
                self._client.fget_object(
                    bucket_name=self.bucket,
                    object_name=self._name(key),
                    file_path=str(path),
                    tmp_file_path=str(part),
                )
        except OSError as error:
            raise StoreError(_not_written(path, error)) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

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
        with self._translating_errors("list", prefix):
            for item in self._client.list_objects(
                bucket_name=self.bucket, prefix=self._prefixed(require_prefix(prefix)), recursive=True
            ):
                yield str(item.object_name)[start:]

    def delete(self, key: str) -> None:
        with self._translating_errors("delete", key):
            self._client.remove_object(bucket_name=self.bucket, object_name=self._name(key))

    def _stat(self, key: str) -> Object:
        with self._translating_errors("read", key):
            return self._client.stat_object(bucket_name=self.bucket, object_name=self._name(key))

    def _name(self, key: str) -> str:
        return self._prefixed(require_key(key))

    def _prefixed(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _translating_errors(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            # Without the right to list, S3 says AccessDenied for an object that does not exist.
            if error.code in {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}:
                raise NotFoundError(key, self.uri) from None
            if error.code == "NoSuchBucket":
                raise StoreError(f"no bucket {self.bucket!r} at {self._where()}; make it first") from None
            refused = AccessDeniedError if error.code == "AccessDenied" else StoreError
            raise refused(f"cannot {verb} {self.uri}/{key}: {error.code}: {error.message}") from error
        except MaxRetryError as error:
            raise StoreError(
                f"cannot {verb} {self.uri}/{key}: {self._where()} does not answer ({error.reason}); "
                f"look at {ENDPOINT_VARIABLE} and the network"
            ) from error
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"cannot {verb} {self.uri}/{key} at {self._where()}: {error}") from error

    def _where(self) -> str:
        return os.environ.get(ENDPOINT_VARIABLE) or "Amazon S3"


def _not_written(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror or error}; make room there"


def s3_address() -> tuple[str, bool]:
    """Returns the server's HOST:PORT, and whether it uses TLS.

    Raises:
        fedvsr.errors.ConfigError: FEDVSR_S3_ENDPOINT is not a valid address.
    """
    endpoint = os.environ.get(ENDPOINT_VARIABLE) or "https://s3.amazonaws.com"
    match = _ENDPOINT.fullmatch(endpoint)
    if not match or not 0 < int(match["port"] or 1) < 1 << 16 or not _is_ipv6(match["ipv6"] or "::"):
        raise ConfigError(
            ENDPOINT_VARIABLE,
            without_password(endpoint),
            "it must be http://HOST:PORT or https://HOST, without a path; "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY hold the keys",
        )
    return match["address"], match["scheme"].lower() == "https"


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def s3_connections(retries: int = 3) -> urllib3.PoolManager:
    """Returns a pool of connections to a server, with certificates and time limits."""
    return _connections(_CONNECT_SECONDS, _READ_SECONDS, retries)


def client_from_environment() -> Minio:
    """Connects to the server at FEDVSR_S3_ENDPOINT with the first credentials that this machine has.

    They are looked up in environment variables, in files, and in the metadata of the pod or machine.
    """
    address, secure = s3_address()
    return Minio(
        endpoint=address,
        secure=secure,
        region=os.environ.get("AWS_REGION", "us-east-1"),
        credentials=ChainedProvider(
            [
                EnvAWSProvider(),
                EnvMinioProvider(),
                AWSConfigProvider(),
                IamAwsProvider(http_client=_connections(_METADATA_SECONDS, _METADATA_SECONDS, retries=0)),
            ]
        ),
        http_client=s3_connections(),
    )


def _connections(connect: float, read: float, retries: int) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=connect, read=read),
        maxsize=10,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        ca_cert_data=os.environ.get(CA_VARIABLE) or None,
        retries=urllib3.Retry(
            total=retries,
            connect=min(retries, 1),
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
        ),
    )
