"""Transfers objects to and from an S3 server over networks that fail: by part, with patience."""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from minio import Minio
from minio.datatypes import Part
from minio.error import S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from fedvsr.store.bandwidth import Bandwidth
from fedvsr.store.base import OnBytes
from fedvsr.waiting import backoff_seconds

Result = TypeVar("Result")

PART_BYTES = 5 << 20
"""Size of the parts of an upload that can be resumed: the smallest that S3 takes."""

_MAX_PARTS = 10_000
# The keys in one answer of the server.
_PAGE = 1000
_LARGE_PART_BYTES = 16 << 20
_CHUNK_BYTES = 64 << 10
# How often an object may be replaced while it is read.
_MAX_REPLACEMENTS = 3
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 30.0
# The server is there, and says that it cannot answer now.
_BUSY = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "XMinioServerNotInitialized"}


class Transfers:
    """The transfers of one connection.

    Args:
        client: The connection.
        patience_seconds: How long a request that fails is tried again while no byte gets through.
        bandwidth: Limits what is received; the connection limits what is sent.
        resume_folder: Where a transfer's state is kept, so that another process can go on with it; None for
            transfers that end with the process.
    """

    def __init__(
        self,
        client: Minio,
        patience_seconds: float = 0.0,
        bandwidth: Bandwidth | None = None,
        resume_folder: Path | None = None,
    ) -> None:
        self._client = client
        self._patience_seconds = patience_seconds
        self._bandwidth = bandwidth or Bandwidth(0)
        self._resume_folder = resume_folder

    def patiently(
        self, attempt: Callable[[], Result], progress: Callable[[], object] = lambda: None
    ) -> Result:
        """Returns an attempt's result. While the network fails, the attempt is made again.

        Args:
            attempt: Makes a request.
            progress: Returns a value that changes if the attempt got further, which renews the patience.
        """
        since, failures = time.monotonic(), 0
        while True:
            before = progress()
            try:
                return attempt()
            except (HTTPError, ServerError, S3Error, OSError) as error:
                if progress() != before:
                    since, failures = time.monotonic(), 0
                if not _is_transient(error) or time.monotonic() - since >= self._patience_seconds:
                    raise
                failures += 1
                time.sleep(backoff_seconds(failures, _MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS))

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Writes an object in one request."""

        def attempt() -> None:
            self._client.put_object(
                bucket_name=bucket, object_name=name, data=io.BytesIO(data), length=len(data)
            )

        self.patiently(attempt)

    def list_names(self, bucket: str, prefix: str) -> Iterator[str]:
        """Yields the names of the objects that start with a prefix, sorted; one request for a thousand."""
        last: str | None = None
        while True:
            page = self.patiently(functools.partial(self._list_page, bucket, prefix, last))
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]

    def _list_page(self, bucket: str, prefix: str, after: str | None) -> list[str]:
        items = self._client.list_objects(
            bucket_name=bucket, prefix=prefix, recursive=True, start_after=after
        )
        return [str(item.object_name) for item in itertools.islice(items, _PAGE)]

    def upload(self, bucket: str, name: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        """Writes a file's bytes as an object. A large file is sent in parts.

        With a folder for the state of transfers, an upload that breaks off goes on after its last part, also
        in another process.

        Args:
            bucket: The bucket.
            name: The object's name.
            path: The file.
            on_bytes: Receives the number of bytes sent: after every part, if the upload can go on.
        """
        size = path.stat().st_size
        tell = on_bytes or (lambda done, total: None)
        if size > PART_BYTES and self._resume_folder is not None:
            state = self._resume_folder / f"{_identity(bucket, name)}.upload"
            _MultipartUpload(self._client, self, bucket, name, path, state).run(tell)
            return
        part_bytes = max(_LARGE_PART_BYTES, -(-size // _MAX_PARTS))
        self.patiently(
            lambda: self._client.fput_object(
                bucket_name=bucket, object_name=name, file_path=str(path), part_size=part_bytes
            )
        )
        tell(size, size)

    def download(self, bucket: str, name: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        """Reads an object into a new file. A download that breaks off goes on where it was.

        Args:
            bucket: The bucket.
            name: The object's name.
            path: The file to write. It appears when it is complete.
            on_bytes: Receives the number of bytes read.
        """
        for attempts_left in reversed(range(_MAX_REPLACEMENTS)):
            stat = self.patiently(lambda: self._client.stat_object(bucket_name=bucket, object_name=name))
            etag, size = str(stat.etag), int(stat.size or 0)
            part = self._part_path(bucket, name, etag, path)
            try:
                self._download_part(bucket, name, etag, size, part, on_bytes)
                shutil.move(part, path)
                return
            except S3Error as error:
                # The object was replaced in the meantime, so what is there of the old one is of no use.
                if error.code != "PreconditionFailed" or not attempts_left:
                    raise
                part.unlink(missing_ok=True)
            finally:
                if self._resume_folder is None:
                    part.unlink(missing_ok=True)

    def _download_part(
        self, bucket: str, name: str, etag: str, size: int, part: Path, on_bytes: OnBytes | None
    ) -> None:
        """Completes the file of a download that began before, or begins it."""

        def attempt() -> None:
            with part.open("ab") as file:
                offset = file.tell()
                if offset == size and size:
                    return
                response = self._client.get_object(
                    bucket_name=bucket,
                    object_name=name,
                    offset=offset,
                    request_headers={"If-Match": f'"{etag}"'},
                )
                try:
                    for chunk in response.stream(_CHUNK_BYTES):
                        self._bandwidth.take(len(chunk))
                        offset += file.write(chunk)
                        if on_bytes:
                            on_bytes(offset, size)
                finally:
                    response.close()
                    response.release_conn()

        self.patiently(attempt, lambda: part.stat().st_size if part.exists() else 0)

    def _part_path(self, bucket: str, name: str, etag: str, path: Path) -> Path:
        if self._resume_folder is None:
            # Without the object's name, which may be as long as the file system allows.
            return path.with_name(f".{uuid.uuid4().hex}.part")
        self._resume_folder.mkdir(parents=True, exist_ok=True)
        return self._resume_folder / f"{_identity(bucket, name, etag)}.part"


class _MultipartUpload:
    """An upload in parts. The arguments are those of `Transfers.upload`, and the file of its state.

    The library's own methods send a file in parts, but cannot go on with an upload that another process
    began, so its requests are used one by one.
    """

    def __init__(
        self, client: Minio, transfers: Transfers, bucket: str, name: str, path: Path, state: Path
    ) -> None:
        self._client, self._transfers = client, transfers
        self._bucket, self._name, self._path, self._state = bucket, name, path, state
        self._size = path.stat().st_size
        self._part_bytes = max(PART_BYTES, -(-self._size // _MAX_PARTS))

    def run(self, tell: Callable[[int, int], None]) -> None:
        upload_id, sent = self._resume() or (self._begin(), {})
        parts: list[Part] = []
        done = 0
        for number, data in self._parts():
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            # The server's checksum of a part that was sent shows that it holds these bytes.
            etag = sent.get(number, "").strip('"')
            if etag != digest:
                etag = self._send(upload_id, number, data)
            parts.append(Part(number, etag))
            done += len(data)
            tell(done, self._size)
        self._complete(upload_id, parts)
        self._state.unlink(missing_ok=True)

    def _parts(self) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as file:
            for number in range(1, -(-self._size // self._part_bytes) + 1):
                yield number, file.read(self._part_bytes)

    def _begin(self) -> str:
        upload_id = self._transfers.patiently(
            lambda: self._client._create_multipart_upload(
                self._bucket, self._name, {"Content-Type": "application/octet-stream"}
            )
        )
        self._state.parent.mkdir(parents=True, exist_ok=True)
        self._state.write_text(json.dumps({"upload": upload_id, "file": self._fingerprint()}))
        return upload_id

    def _resume(self) -> tuple[str, dict[int, str]] | None:
        """Returns the upload that was begun before with this file, and the checksums of its parts."""
        if not self._state.exists():
            return None
        try:
            state = json.loads(self._state.read_text())
            upload_id, fingerprint = str(state["upload"]), state["file"]
        except (ValueError, KeyError, TypeError):
            return None
        if fingerprint != self._fingerprint():
            self._abort(upload_id)
            return None
        try:
            return upload_id, dict(self._sent(upload_id))
        except S3Error as error:
            if error.code == "NoSuchUpload":
                return None
            raise

    def _sent(self, upload_id: str) -> Iterator[tuple[int, str]]:
        marker: str | None = None
        while True:
            request = functools.partial(self._client._list_parts, self._bucket, self._name, upload_id)
            listed = self._transfers.patiently(functools.partial(request, part_number_marker=marker))
            for part in listed.parts:
                yield part.part_number, str(part.etag)
            if not listed.is_truncated:
                return
            marker = str(listed.next_part_number_marker)

    def _send(self, upload_id: str, number: int, data: bytes) -> str:
        return self._transfers.patiently(
            lambda: self._client._upload_part(self._bucket, self._name, data, None, upload_id, number)
        )

    def _complete(self, upload_id: str, parts: list[Part]) -> None:
        try:
            self._transfers.patiently(
                lambda: self._client._complete_multipart_upload(self._bucket, self._name, upload_id, parts)
            )
        except S3Error as error:
            # The answer to an earlier attempt got lost, and the upload is complete.
            if error.code != "NoSuchUpload" or not self._is_complete(parts):
                raise

    def _is_complete(self, parts: list[Part]) -> bool:
        digests = b"".join(bytes.fromhex(str(part.etag).strip('"')) for part in parts)
        expected = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        stat = self._client.stat_object(bucket_name=self._bucket, object_name=self._name)
        return str(stat.etag).strip('"') == expected

    def _abort(self, upload_id: str) -> None:
        # What is left of it costs space until the server removes incomplete uploads, and nothing else.
        with contextlib.suppress(S3Error, HTTPError):
            self._client._abort_multipart_upload(self._bucket, self._name, upload_id)

    def _fingerprint(self) -> list[int | str]:
        stat = self._path.stat()
        return [str(self._path), stat.st_size, stat.st_mtime_ns]


def _identity(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _is_transient(error: Exception) -> bool:
    """Returns whether another attempt may succeed."""
    if isinstance(error, S3Error):
        return error.code in _BUSY
    if isinstance(error, MaxRetryError):
        return not isinstance(error.reason, SSLError) or "certificate" not in str(error.reason).lower()
    if isinstance(error, ServerError):
        return error.status_code >= 500
    # A local file that cannot be read or written; a broken connection is one too.
    return isinstance(error, HTTPError | ConnectionError | TimeoutError)
