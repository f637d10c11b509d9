"""What a client keeps in its own store for one session."""

import secrets
from typing import ClassVar, Literal

from fedvsr.privacy.secure_aggregation.canonical import Bytes32, CanonicalRecord, Digest
from fedvsr.privacy.secure_aggregation.key_derivation import KEY_BYTES
from fedvsr.privacy.secure_aggregation.messages import Shares
from fedvsr.privacy.secure_aggregation.session import Session


class SessionRecord(CanonicalRecord):
    """What a client has drawn and answered in one session. It stays in the client's own store.

    The caller stores the record before it sends the message that came with it. So a client that was killed
    sends the same again, and refuses to answer differently: two vectors under one mask, or two lists of
    survivors, would open its update or a peer's.

    Attributes:
        session: The digest of the session's parameters.
        nonce: 32 random bytes for this session; see `session_keys.SessionKeys`.
        roster: The digest of the roster that the shares were made for; None before.
        shares: The message of phase 2, which cannot be made again; None before.
        senders: The digest of the list of share senders that the vector was masked for; None before.
        masked: The SHA-256 of the message of phase 3; None before.
        survivors: The digest of the list of survivors that was answered; None before.
    """

    what: ClassVar[str] = "a client's record of a session"
    client_bytes: ClassVar[int] = 2 * Shares.client_bytes
    base_bytes: ClassVar[int] = 2 * Shares.base_bytes

    version: Literal[1] = 1
    session: Digest
    nonce: Bytes32
    roster: Digest | None = None
    shares: bytes | None = None
    senders: Digest | None = None
    masked: Digest | None = None
    survivors: Digest | None = None


def begin_session(session: Session) -> SessionRecord:
    """Draws a client's nonce for a session from the operating system; call it once for a session."""
    return SessionRecord(session=session.digest, nonce=secrets.token_bytes(KEY_BYTES))
