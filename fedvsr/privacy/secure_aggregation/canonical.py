"""Typed records with one encoding: the same record has the same bytes, and no other bytes are accepted."""

import hashlib
import json
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fedvsr.errors import RecordError
from fedvsr.text import printable

MIN_CLIENTS = 3
MAX_CLIENTS = 100

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal."""
Bytes32 = Annotated[bytes, Field(min_length=32, max_length=32)]

_MAX_PROBLEM = 200


class CanonicalRecord(BaseModel):
    """A frozen record. Its bytes are JSON with sorted keys and no spaces; bytes in it are base64.

    Attributes:
        what: What the record is called in an error.
        base_bytes: The most that the record's bytes have without what each client adds.
        client_bytes: The most that each client adds.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, ser_json_bytes="base64", val_json_bytes="base64"
    )
    what: ClassVar[str] = "record"
    base_bytes: ClassVar[int] = 2048
    client_bytes: ClassVar[int] = 0

    def to_bytes(self) -> bytes:
        """Returns the record's bytes."""
        return _encode(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """The SHA-256 of the record's bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def max_bytes(cls, clients: int = MAX_CLIENTS) -> int:
        """Returns the most bytes that a record for this number of clients has."""
        return cls.base_bytes + clients * cls.client_bytes

    @classmethod
    def from_bytes(cls, data: bytes, clients: int = MAX_CLIENTS) -> Self:
        """Parses a record's bytes.

        Args:
            data: The bytes; they are not looked at if they are too many.
            clients: The number of clients in the session.

        Raises:
            fedvsr.errors.RecordError: The bytes are not a record of this class in its one encoding.
        """
        limit = cls.max_bytes(clients)
        if len(data) > limit:
            raise RecordError(f"expected {cls.what} of at most {limit} bytes, {len(data)} came")
        try:
            record = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "document"
            problem = printable(f"{field}: {first['msg']}", _MAX_PROBLEM)
            raise RecordError(
                f"expected {cls.what}, but {problem} (came {printable(repr(first['input']), _MAX_PROBLEM)})"
            ) from None
        if record.to_bytes() != data:
            raise RecordError(f"expected {cls.what} in its one encoding, came the same content otherwise")
        return record


def _encode(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
