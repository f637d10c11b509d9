"""Translates errors of an S3 server and of the network into fedvsr's, which say what to do."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from minio.error import InvalidResponseError, S3Error
from urllib3.exceptions import MaxRetryError, ProxyError, SSLError

from fedvsr.errors import (
    AccessDeniedError,
    CertificateError,
    ClockError,
    CredentialsError,
    NotFoundError,
    StoreError,
)
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3_connection import CA_VARIABLE, ENDPOINT_VARIABLE
from fedvsr.text import printable

# How far a clock may be from the server's.
_MAX_CLOCK_SECONDS: Final = 900
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId", "ExpiredToken"}
_MAX_ANSWER = 160


@dataclass(frozen=True)
class Place:
    """A bucket of a server, as messages name it.

    Attributes:
        bucket: The bucket.
        connection: The server; None for that of the environment.
    """

    bucket: str
    connection: S3Connection | None = None

    @property
    def address(self) -> str:
        if self.connection:
            return self.connection.endpoint
        return os.environ.get(ENDPOINT_VARIABLE) or "Amazon S3"

    def translated(self, error: Exception, action: str, key: str, uri: str) -> StoreError:
        """Returns the error to raise for one of the server, its library or the network.

        Args:
            error: The error.
            action: What could not be done: ``cannot read s3://bucket/key``.
            key: The object's key.
            uri: The store's address.
        """
        if isinstance(error, S3Error):
            return self._of_server(error, action, key, uri)
        if isinstance(error, MaxRetryError):
            return self._of_network(error, action)
        if isinstance(error, InvalidResponseError):
            # A proxy's or a portal's page, which may be long.
            answer = printable(str(error), _MAX_ANSWER)
            return StoreError(
                f"{action}: what answers at {self.address} is no S3 server, or a proxy refuses ({answer}); "
                "look at the address and the proxy"
            )
        return StoreError(f"{action} at {self.address}: {printable(str(error))}")

    def _of_server(self, error: S3Error, action: str, key: str, uri: str) -> StoreError:
        headers = error.response.headers if error.response is not None else {}
        # The answer to HEAD has no body, so the library does not know the reason. MinIO has it in headers.
        code = headers.get("x-minio-error-code") or error.code or ""
        message = headers.get("x-minio-error-desc", "").strip('"') or error.message
        # Without the right to list, S3 says AccessDenied for an object that does not exist.
        if code in {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}:
            return NotFoundError(key, uri)
        if code == "NoSuchBucket":
            return StoreError(f"no bucket {self.bucket!r} at {self.address}; make it first")
        seconds = _seconds_ahead(headers.get("date"))
        is_skewed = seconds is not None and abs(seconds) > _MAX_CLOCK_SECONDS
        if code == "RequestTimeTooSkewed" or (code == "AccessDenied" and is_skewed):
            return ClockError(
                f"{action}: this machine's clock is {_describe_clock(seconds)} the server's, and S3 allows "
                f"{_MAX_CLOCK_SECONDS} s; set the clock, for example by NTP"
            )
        reason = f"{action}: {code}: {message}"
        if code in _UNKNOWN_KEYS:
            remedy = (
                "ask the operator of the federation for a new invitation"
                if self.connection
                else "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
            return CredentialsError(
                f"{reason.rstrip('.')}; {self.address} does not accept these keys, or no longer: {remedy}"
            )
        return AccessDeniedError(reason) if code == "AccessDenied" else StoreError(reason)

    def _of_network(self, error: MaxRetryError, action: str) -> StoreError:
        reason = error.reason
        if isinstance(reason, SSLError) and _is_unverified(reason):
            return CertificateError(
                f"{action}: the certificate of {self.address} is not valid ({_root_cause(reason)}); it must "
                f"be of {self._describe_authorities()}. Name the authority that signed it, or look whether "
                "another server answers at that address"
            )
        if isinstance(reason, ProxyError):
            return StoreError(
                f"{action}: the proxy of HTTPS_PROXY or HTTP_PROXY does not connect to {self.address} "
                f"({_without_prefix(reason.original_error)}); look at the proxy, or add the host to NO_PROXY"
            )
        settings = "the address" if self.connection else ENDPOINT_VARIABLE
        return StoreError(
            f"{action}: {self.address} does not answer ({_without_prefix(reason)}); look at {settings} and "
            "the network"
        )

    def _describe_authorities(self) -> str:
        """Returns whose certificates are accepted, in words."""
        pem = self.connection.ca_certificate if self.connection else os.environ.get(CA_VARIABLE)
        if not pem:
            return "a public authority"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError):
            return "a public authority, as the private one that was named is no PEM certificate"
        names = [_subject(certificate) for certificate in context.get_ca_certs()]
        return f"the authority {' or '.join(names) or 'that was named'}, or a public one"


def _subject(certificate: Mapping[str, object]) -> str:
    """Returns the name in a certificate of `ssl.SSLContext.get_ca_certs`."""
    subject = certificate.get("subject")
    parts = [pair for part in subject for pair in part] if isinstance(subject, tuple) else []
    names = {str(field): str(value) for field, value in parts}
    name = names.get("commonName") or names.get("organizationName") or "without a name"
    return printable(repr(name), _MAX_ANSWER)


def _seconds_ahead(date: str | None) -> float | None:
    """Returns how far this machine's clock is ahead of a Date header, if there is one."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError):
        return None


def _describe_clock(seconds: float | None) -> str:
    if seconds is None:
        return "far from"
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _is_unverified(error: SSLError) -> bool:
    """Returns whether a certificate was refused. Other errors of TLS come from broken connections."""
    # If the authority that was named is no certificate, that is all that the text says.
    return isinstance(_root_cause(error), ssl.SSLCertVerificationError) or "certificate" in str(error).lower()


def _without_prefix(reason: Exception | None) -> str:
    """Returns an error of the network without the name of the library's object that met it."""
    text = printable(str(reason))
    return text.rpartition("): ")[2] or text


def _root_cause(error: BaseException) -> BaseException:
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return error
