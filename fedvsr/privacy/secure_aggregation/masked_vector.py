"""The message of phase 3 as a safetensors file: one tensor with the packed vector, and the signed header."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

import numpy as np
from safetensors.numpy import save

from fedvsr.codecs.packing import check_packed, packed_size
from fedvsr.errors import RecordError
from fedvsr.privacy.secure_aggregation.identity import Identity
from fedvsr.privacy.secure_aggregation.messages import MaskedUpdate, check_origin, refuse
from fedvsr.privacy.secure_aggregation.session import Session

Buffer = bytes | memoryview

MASKED: Final = "masked"
"""The name of the tensor with the packed vector."""
_METADATA: Final = "__metadata__"
_MESSAGE: Final = "message"
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 2 * MaskedUpdate.base_bytes


def write_masked_update(
    session: Session, identity: Identity, sender: str, senders: str, packed: bytes
) -> bytes:
    """Returns the bytes of a masked update.

    Args:
        session: The session.
        identity: The sender's long-term secret.
        sender: The sender's name.
        senders: The digest of the list of share senders.
        packed: The masked vector; see `packing`.
    """
    message = MaskedUpdate.create(
        session, identity, sender, senders=senders, vector=hashlib.sha256(packed).hexdigest()
    )
    # One entry of metadata has one order, so the bytes are the same for the same vector.
    metadata = {_MESSAGE: message.to_bytes().decode()}
    return save({MASKED: np.frombuffer(packed, np.uint8)}, metadata)


def max_masked_update_bytes(session: Session) -> int:
    """Returns the most bytes that a masked update of this session has."""
    return _LENGTH_BYTES + _MAX_HEADER_BYTES + packed_size(session.length, session.bits)


def read_masked_update(
    session: Session, public_keys: Mapping[str, bytes], client: str, senders: str, data: Buffer
) -> memoryview:
    """Checks a client's masked update, and returns its packed vector without copying it.

    Args:
        session: The session.
        public_keys: The clients' long-term public keys.
        client: The client that must have sent it.
        senders: The digest of the list of share senders that it must be masked for.
        data: The message's bytes; a map of a file is read once.

    Raises:
        fedvsr.errors.SecureAggregationError: The message is refused; the error names the client.
    """
    try:
        message, packed = _parse(session, memoryview(data))
        check_packed(packed, session.bits, session.length)
    except (RecordError, ValueError) as error:
        raise refuse(session, client, MaskedUpdate.what, str(error)) from None
    check_origin(message, session, public_keys, client)
    if message.senders != senders:
        reason = f"it is masked for another list of share senders: expected {senders}, {message.senders} came"
        raise refuse(session, client, MaskedUpdate.what, reason)
    digest = hashlib.sha256(packed).hexdigest()
    if message.vector != digest:
        reason = f"expected a vector with SHA-256 {message.vector}, {digest} came; it was changed"
        raise refuse(session, client, MaskedUpdate.what, reason)
    return packed


def _parse(session: Session, data: memoryview) -> tuple[MaskedUpdate, memoryview]:
    size, limit = packed_size(session.length, session.bits), max_masked_update_bytes(session)
    if not size < len(data) <= limit:
        raise RecordError(f"expected {size} to {limit} bytes, {len(data)} came")
    header_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if header_bytes != len(data) - _LENGTH_BYTES - size:
        expected = len(data) - _LENGTH_BYTES - size
        raise RecordError(f"expected a header of {expected} bytes for this length, {header_bytes} came")
    start = _LENGTH_BYTES + header_bytes
    try:
        header = json.loads(bytes(data[_LENGTH_BYTES:start]))
        text = header[_METADATA][_MESSAGE]
        message = MaskedUpdate.from_bytes(text.encode())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise RecordError("expected a safetensors file with a signed header, another header came") from None
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    if header != {_METADATA: {_MESSAGE: text}, MASKED: tensor}:
        raise RecordError(f"expected one tensor {MASKED!r} of {size} bytes, another header came")
    return message, data[start:]
