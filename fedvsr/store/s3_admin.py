"""Manages an S3 server's buckets, users and policies through MinIO's admin API."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minio import Minio, MinioAdmin
from minio.credentials.providers import EnvAWSProvider
from minio.error import MinioAdminException, MinioException, S3Error
from urllib3.exceptions import HTTPError, MaxRetryError

from fedvsr.errors import ConfigError, StoreError
from fedvsr.store.s3_connection import ENDPOINT_VARIABLE, s3_address, s3_connections

_RETRY_SECONDS = 2.0
_ERRORS = (HTTPError, MinioException, MinioAdminException)
# The server is running but refuses the administrator's keys, so waiting does not help.
_REFUSALS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


class S3Admin:
    """Administers the server at FEDVSR_S3_ENDPOINT with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Every call is idempotent: repeating it has the same result.

    Raises:
        fedvsr.errors.ConfigError: The address or the keys are missing or wrong.
    """

    def __init__(self) -> None:
        address, secure = s3_address()
        # No retries: `wait` retries by itself and reports each failure.
        connections = s3_connections(retries=0)
        credentials = EnvAWSProvider()
        try:
            credentials.retrieve()
        except ValueError:
            allowed = "set it and AWS_SECRET_ACCESS_KEY to the keys of the server's root user"
            raise ConfigError("AWS_ACCESS_KEY_ID", os.environ.get("AWS_ACCESS_KEY_ID"), allowed) from None
        self.where = os.environ.get(ENDPOINT_VARIABLE) or "Amazon S3"
        self._client = Minio(
            endpoint=address,
            secure=secure,
            region=os.environ.get("AWS_REGION", "us-east-1"),
            credentials=credentials,
            http_client=connections,
        )
        self._admin = MinioAdmin(
            endpoint=address, secure=secure, credentials=credentials, http_client=connections
        )

    def wait(self, seconds: float, report: Callable[[str], None]) -> None:
        """Waits until the server answers an administrator.

        Args:
            seconds: The longest time to wait, in seconds.
            report: Called with a line whenever the server does not answer.

        Raises:
            fedvsr.errors.StoreError: It did not answer in time, or refuses the administrator's keys.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                self._admin.info()
            except _ERRORS as error:
                reason = _reason(error)
                if reason.startswith(_REFUSALS):
                    raise StoreError(
                        f"{self.where} refuses the administrator ({reason}): AWS_ACCESS_KEY_ID and "
                        "AWS_SECRET_ACCESS_KEY must be those of the server's root user"
                    ) from error
                left = end - time.monotonic()
                if left <= 0:
                    raise StoreError(
                        f"{self.where} did not answer within {seconds:g} s ({reason}); "
                        f"look at {ENDPOINT_VARIABLE} and at the server's log, and try again"
                    ) from error
                report(f"{self.where} does not answer yet ({reason}); trying for {left:.0f} s more")
                time.sleep(min(_RETRY_SECONDS, max(left, 0)))
            else:
                return

    def make_bucket(self, name: str) -> bool:
        """Makes a bucket, and returns whether it is new."""
        with self._translating_errors(f"make bucket {name!r}"):
            try:
                self._client.make_bucket(bucket_name=name)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":
                    raise
                return False
        return True

    def set_quota(self, bucket: str, size: int) -> None:
        """Sets the most bytes that a bucket may hold; 0 for no limit."""
        with self._translating_errors(f"set the quota of bucket {bucket!r}"):
            self._admin.bucket_quota_set(bucket=bucket, size=size)

    def users(self) -> Mapping[str, bool]:
        """Returns each user's name, and whether the user is enabled."""
        with self._translating_errors("list the users"):
            users: dict[str, dict[str, Any]] = json.loads(self._admin.user_list())
        return {name: user.get("status") == "enabled" for name, user in users.items()}

    def set_user(self, name: str, secret: str, policy: Mapping[str, Any]) -> None:
        """Makes or enables a user, and sets its secret key and its only policy."""
        with self._translating_errors(f"set user {name!r}"):
            self._admin.policy_add(policy_name=name, policy=dict(policy))
            self._admin.user_add(access_key=name, secret_key=secret)
            self._admin.policy_set(policy_name=name, user=name)

    def remove_user(self, name: str) -> None:
        """Removes a user if it exists, with all its access keys."""
        with self._translating_errors(f"remove user {name!r}"):
            if name in json.loads(self._admin.user_list()):
                self._admin.user_remove(access_key=name)

    def disable_user(self, name: str) -> None:
        """Disables a user, but does not delete it."""
        with self._translating_errors(f"disable user {name!r}"):
            self._admin.user_disable(access_key=name)

    @contextmanager
    def _translating_errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except (*_ERRORS, ValueError) as error:
            raise StoreError(f"{self.where} could not {action}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Returns the server's error message, or that of the network."""
    if isinstance(error, MaxRetryError):
        return str(error.reason).rpartition("): ")[2]
    _, _, body = str(error).partition("Body: ")
    try:
        answer = json.loads(body)
        return f"{answer['Code']}: {answer['Message']}"
    except (ValueError, KeyError, TypeError):
        return str(error).partition("\n")[0]
