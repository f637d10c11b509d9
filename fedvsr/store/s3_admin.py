"""An S3 server's buckets, users and policies, through MinIO's admin API."""

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
from fedvsr.store.s3 import ENDPOINT_VARIABLE, s3_address, s3_connections

_LOOK_EVERY_SECONDS = 2.0
_ERRORS = (HTTPError, MinioException, MinioAdminException)
# What a server says that is up and does not know the administrator; waiting does not mend it.
_REFUSALS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


class S3Admin:
    """An administrator of the server at FEDVSR_S3_ENDPOINT, whose keys are AWS_ACCESS_KEY_ID and so on.

    Everything is set to what is asked for, whatever it was before: doing it twice is doing it once.

    Raises:
        fedvsr.errors.ConfigError: The address or the keys are missing or wrong.
    """

    def __init__(self) -> None:
        address, secure = s3_address()
        # One try each: `wait` tries for as long as is asked, and says so meanwhile.
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

    def wait(self, seconds: float, tell: Callable[[str], None]) -> None:
        """Waits until the server answers an administrator.

        Args:
            seconds: For how long at most.
            tell: Takes a line each time that it does not answer.

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
                tell(f"{self.where} does not answer yet ({reason}); trying for {left:.0f} s more")
                time.sleep(min(_LOOK_EVERY_SECONDS, max(left, 0)))
            else:
                return

    def make_bucket(self, name: str) -> bool:
        """Makes a bucket; returns whether it was not there."""
        with self._failures(f"make bucket {name!r}"):
            try:
                self._client.make_bucket(bucket_name=name)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":
                    raise
                return False
        return True

    def users(self) -> Mapping[str, bool]:
        """Returns the users' names, and whether each is enabled."""
        with self._failures("list the users"):
            found: dict[str, dict[str, Any]] = json.loads(self._admin.user_list())
        return {name: each.get("status") == "enabled" for name, each in found.items()}

    def set_user(self, name: str, secret: str, policy: Mapping[str, Any]) -> None:
        """Makes an enabled user with that secret key, and a policy of its name that is all it may do."""
        with self._failures(f"set user {name!r}"):
            self._admin.policy_add(policy_name=name, policy=dict(policy))
            self._admin.user_add(access_key=name, secret_key=secret)
            self._admin.policy_set(policy_name=name, user=name)

    def disable_user(self, name: str) -> None:
        """Takes every right from a user without forgetting it."""
        with self._failures(f"disable user {name!r}"):
            self._admin.user_disable(access_key=name)

    @contextmanager
    def _failures(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (*_ERRORS, ValueError) as error:
            raise StoreError(f"{self.where} could not {verb}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The server's own sentence, without the rest of its answer, or the network's."""
    if isinstance(error, MaxRetryError):
        return str(error.reason).rpartition("): ")[2]
    _, _, body = str(error).partition("Body: ")
    try:
        answer = json.loads(body)
        return f"{answer['Code']}: {answer['Message']}"
    except (ValueError, KeyError, TypeError):
        return str(error).partition("\n")[0]
