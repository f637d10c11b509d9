"""The invitation: the one file by which a site joins a federation. It has the site's keys."""

import json
import os
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import AwareDatetime, Field

import fedvsr
from fedvsr.config.run import Name
from fedvsr.errors import AccessFileError, RecordError
from fedvsr.federation.records import PositiveCount, Record
from fedvsr.federation.site_records import PROTOCOL
from fedvsr.store.connection import S3Connection
from fedvsr.text import printable

SUFFIX = ".fedvsr-invitation"
_MAX_BYTES = 1 << 20


class Invitation(Record):
    """A site's invitation.

    Attributes:
        federation: The federation's name.
        site: The site's name.
        fedvsr_version: The version of the federation's fedvsr.
        protocol: The version of what federation and site exchange.
        endpoint: The S3 address that the site reaches.
        bucket: The federation's bucket.
        region: The S3 server's region.
        ca_certificate: The PEM text of the authority of the server's certificate; empty for the public ones.
        access_key: The site's S3 user.
        secret_key: Its secret key. Text forms of the invitation leave it out.
        expires: When the keys expire; None if they do not.
    """

    what: ClassVar[str] = "invitation"

    federation: Name
    site: Name
    fedvsr_version: str
    protocol: PositiveCount = PROTOCOL
    endpoint: str
    bucket: str
    region: str = "us-east-1"
    ca_certificate: str = Field("", repr=False)
    access_key: str
    secret_key: str = Field(repr=False)
    expires: AwareDatetime | None = None

    def connection(self) -> S3Connection:
        """Returns how to reach the federation's S3 server."""
        return S3Connection(self.endpoint, self.access_key, self.secret_key, self.ca_certificate, self.region)

    def write(self, path: Path) -> None:
        """Writes the invitation to a file that only its owner may read. An existing file is replaced.

        Raises:
            fedvsr.errors.AccessFileError: It cannot be written.
        """
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self.to_bytes())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise AccessFileError(
                f"the invitation {path} cannot be written ({error.strerror}); "
                "make room there or name another file"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def read_invitation(path: Path) -> Invitation:
    """Reads an invitation.

    Raises:
        fedvsr.errors.AccessFileError: The file cannot be read, or its keys have expired.
        fedvsr.errors.RecordError: It is no invitation.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise AccessFileError(
            f"the invitation {path} cannot be read ({error.strerror}); the operator makes one with "
            "`fedvsr sites invite`"
        ) from None
    _check_protocol(data, path)
    invitation = Invitation.from_bytes(data, str(path))
    if invitation.expires and invitation.expires <= datetime.now(UTC):
        raise AccessFileError(
            f"the keys in {path} expired on {invitation.expires:%Y-%m-%d %H:%M} UTC; ask the operator for "
            f"new ones (`fedvsr sites rotate {invitation.site}`)"
        )
    return invitation


def _check_protocol(data: bytes, path: Path) -> None:
    """Raises RecordError for a newer protocol, whose invitations may have other fields.

    An older invitation is no obstacle: federation.json has the protocol that the federation speaks now.
    """
    try:
        fields = json.loads(data)
    except ValueError:
        return
    protocol = fields.get("protocol") if isinstance(fields, dict) else None
    if not isinstance(protocol, int) or protocol <= PROTOCOL:
        return
    version = printable(str(fields.get("fedvsr_version")), 40)
    raise RecordError(
        f"{path} is for protocol {protocol} of fedvsr {version}, and fedvsr {fedvsr.__version__} here speaks "
        f"protocol {PROTOCOL}; upgrade this fedvsr"
    )
