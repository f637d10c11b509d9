"""The clients' messages of every phase but the masked update: typed, bound to their place, and signed."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from fedvsr.config.run import Name
from fedvsr.errors import RecordError, SecureAggregationError
from fedvsr.privacy.secure_aggregation.canonical import MAX_CLIENTS, Bytes32, CanonicalRecord, Digest
from fedvsr.privacy.secure_aggregation.identity import SIGNATURE_BYTES, Identity, fingerprint, verify
from fedvsr.privacy.secure_aggregation.sealed_shares import SealedShares
from fedvsr.privacy.secure_aggregation.session import Session
from fedvsr.privacy.secure_aggregation.session_keys import has_low_order
from fedvsr.text import printable

Share = Bytes32
_UNSIGNED = bytes(SIGNATURE_BYTES)


class SignedMessage(CanonicalRecord):
    """What a client sends in one phase.

    Attributes:
        phase: The phase; every subclass has its own.
        run: The run's name.
        round: The round.
        session: The digest of the session's parameters.
        sender: The client's name.
        signature: Ed25519, over all other fields.
    """

    version: Literal[1] = 1
    phase: str
    run: Name
    round: int
    session: Digest
    sender: Name
    signature: Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)] = _UNSIGNED

    @classmethod
    def create(cls, session: Session, identity: Identity, sender: str, **content: Any) -> Self:
        """Creates a signed message. The same arguments give the same bytes.

        Args:
            session: The session.
            identity: The sender's long-term secret.
            sender: The sender's name.
            content: The fields of the subclass.
        """
        message = cls(run=session.run, round=session.round, session=session.digest, sender=sender, **content)
        return message.model_copy(update={"signature": identity.sign(message.phase, message._unsigned())})

    def is_signed_by(self, public_key: bytes) -> bool:
        """Tells whether the signature is by the owner of a long-term public key."""
        return verify(public_key, self.phase, self._unsigned(), self.signature)

    def _unsigned(self) -> bytes:
        return self.model_copy(update={"signature": _UNSIGNED}).to_bytes()


class Advertise(SignedMessage):
    """Phase 1: a client's public keys for the session, and a commitment to its self-mask's seed."""

    what: ClassVar[str] = "a message of the phase advertise"

    phase: Literal["advertise"] = "advertise"
    mask_public_key: Bytes32
    share_public_key: Bytes32
    seed_commitment: Bytes32


class Shares(SignedMessage):
    """Phase 2: a client's shares, encrypted for each client of the roster, itself included."""

    what: ClassVar[str] = "a message of the phase shares"
    client_bytes: ClassVar[int] = 512

    phase: Literal["shares"] = "shares"
    roster: Digest
    sealed: Annotated[dict[Name, SealedShares], Field(max_length=MAX_CLIENTS)]


class MaskedUpdate(SignedMessage):
    """Phase 3: what a client says about its masked vector, which travels with it.

    Attributes:
        senders: The digest of the list of share senders, with whom the vector is masked.
        vector: The SHA-256 of the packed vector.
    """

    what: ClassVar[str] = "a message of the phase masked-update"

    phase: Literal["masked-update"] = "masked-update"
    senders: Digest
    vector: Digest


class Unmask(SignedMessage):
    """Phase 4: the shares that a client opens.

    Attributes:
        survivors: The digest of the list of survivors.
        seeds: The share of each survivor's self-mask seed.
        mask_keys: The share of each dropped client's mask key.
    """

    what: ClassVar[str] = "a message of the phase unmask"
    client_bytes: ClassVar[int] = 128

    phase: Literal["unmask"] = "unmask"
    survivors: Digest
    seeds: Annotated[dict[Name, Share], Field(max_length=MAX_CLIENTS)]
    mask_keys: Annotated[dict[Name, Share], Field(max_length=MAX_CLIENTS)]


AnyMessage = TypeVar("AnyMessage", bound=SignedMessage)


def refuse(session: Session, client: str, what: str, reason: str) -> SecureAggregationError:
    """Returns the error that a client's message is refused."""
    text = f"{what} from client {client!r} is refused: {reason}"
    return SecureAggregationError(session.round, printable(text), (client,))


def read_message(
    kind: type[AnyMessage], session: Session, public_keys: Mapping[str, bytes], client: str, data: bytes
) -> AnyMessage:
    """Parses a client's message and checks its size, its place and its signature.

    Args:
        kind: The class of the phase's messages.
        session: The session.
        public_keys: The clients' long-term public keys.
        client: The client that must have sent it.
        data: The message's bytes.

    Raises:
        fedvsr.errors.SecureAggregationError: The message is refused; the error names the client.
    """
    try:
        message = kind.from_bytes(data, len(session.clients))
    except RecordError as error:
        raise refuse(session, client, kind.what, str(error)) from None
    check_origin(message, session, public_keys, client)
    return message


def check_origin(
    message: SignedMessage, session: Session, public_keys: Mapping[str, bytes], client: str
) -> None:
    """Checks that a message is from a client, for this session; raises as `read_message` does."""
    expected = {"run": session.run, "round": session.round, "session": session.digest, "sender": client}
    for field, value in expected.items():
        actual = getattr(message, field)
        if actual != value:
            raise refuse(session, client, message.what, f"expected the {field} {value!r}, {actual!r} came")
    if client not in session.clients:
        raise refuse(session, client, message.what, "the client is not in this session")
    public_key = public_keys.get(client)
    if public_key is None:
        raise refuse(session, client, message.what, "its long-term public key is not known; approve it first")
    if not message.is_signed_by(public_key):
        reason = (
            f"expected a signature by the key {fingerprint(public_key)}, another came; "
            "the message was changed, or the client has a new key that must be approved"
        )
        raise refuse(session, client, message.what, reason)


def read_advertise(session: Session, public_keys: Mapping[str, bytes], client: str, data: bytes) -> Advertise:
    """Parses and checks a client's message of phase 1; see `read_message`."""
    message = read_message(Advertise, session, public_keys, client, data)
    for key in (message.mask_public_key, message.share_public_key):
        if has_low_order(key):
            raise refuse(session, client, message.what, "a public key has low order, which no one draws")
    return message
