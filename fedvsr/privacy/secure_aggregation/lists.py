"""The lists that the server publishes between the phases."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from fedvsr.config.run import Name
from fedvsr.errors import RecordError, SecureAggregationError
from fedvsr.privacy.secure_aggregation.canonical import MAX_CLIENTS, CanonicalRecord, Digest
from fedvsr.privacy.secure_aggregation.key_derivation import encode_context
from fedvsr.privacy.secure_aggregation.messages import Advertise
from fedvsr.privacy.secure_aggregation.sealed_shares import SealedShares
from fedvsr.privacy.secure_aggregation.session import Session
from fedvsr.text import printable

_BASE64_GROWTH = 4 / 3


class PublishedList(CanonicalRecord):
    """A list of the server's. It is bound to its session, and not signed: clients check what is in it.

    Attributes:
        run: The run's name.
        round: The round.
        session: The digest of the session's parameters.
    """

    version: Literal[1] = 1
    kind: str
    run: Name
    round: int
    session: Digest

    @classmethod
    def create(cls, session: Session, **content: Any) -> Self:
        """Creates a session's list. The same arguments give the same bytes."""
        return cls(run=session.run, round=session.round, session=session.digest, **content)


class Roster(PublishedList):
    """After phase 1: the clients that advertised keys, with their signed messages; U1 in the paper."""

    what: ClassVar[str] = "the roster"
    client_bytes: ClassVar[int] = 128 + int(Advertise.base_bytes * _BASE64_GROWTH)

    kind: Literal["roster"] = "roster"
    messages: Annotated[dict[Name, bytes], Field(max_length=MAX_CLIENTS)]

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names, sorted. The first one holds the shares of number 1."""
        return tuple(sorted(self.messages))


class DeliveredShares(PublishedList):
    """After phase 2: for one client, the shares that the others encrypted for it.

    Attributes:
        roster: The roster's digest.
        recipient: The client's name.
        sealed: The shares by sender, the client's own among them.
    """

    what: ClassVar[str] = "the list of share senders"
    client_bytes: ClassVar[int] = 512

    kind: Literal["delivered-shares"] = "delivered-shares"
    roster: Digest
    recipient: Name
    sealed: Annotated[dict[Name, SealedShares], Field(max_length=MAX_CLIENTS)]

    @property
    def senders(self) -> tuple[str, ...]:
        """The clients that sent shares, sorted; U2 in the paper."""
        return tuple(sorted(self.sealed))


class Survivors(PublishedList):
    """After phase 3: the clients whose masked updates are in the sum; U3 in the paper.

    Attributes:
        senders: The digest of the list of share senders.
        clients: The survivors' names, sorted.
    """

    what: ClassVar[str] = "the list of survivors"
    client_bytes: ClassVar[int] = 64

    kind: Literal["survivors"] = "survivors"
    senders: Digest
    clients: Annotated[tuple[Name, ...], Field(max_length=MAX_CLIENTS)]


AnyList = TypeVar("AnyList", bound=PublishedList)


def senders_digest(session: str, roster: str, senders: Iterable[str]) -> str:
    """Returns the digest of the list of share senders.

    Args:
        session: The digest of the session's parameters.
        roster: The roster's digest.
        senders: The senders' names.
    """
    return hashlib.sha256(encode_context("senders", session, roster, *sorted(senders))).hexdigest()


def read_list(kind: type[AnyList], session: Session, data: bytes) -> AnyList:
    """Parses a list of the server's and checks that it is for this session.

    Raises:
        fedvsr.errors.SecureAggregationError: It is not.
    """
    try:
        published = kind.from_bytes(data, len(session.clients))
    except RecordError as error:
        raise SecureAggregationError(session.round, f"the server's list is refused: {error}") from None
    expected = {"run": session.run, "round": session.round, "session": session.digest}
    for field, value in expected.items():
        actual = getattr(published, field)
        if actual != value:
            reason = f"{kind.what} is refused: expected the {field} {value!r}, {actual!r} came"
            raise SecureAggregationError(session.round, printable(reason))
    return published


def check_threshold(session: Session, what: str, clients: Iterable[str], expected: Iterable[str]) -> None:
    """Checks that enough clients are in a list.

    Args:
        session: The session.
        what: What the clients did, for example "advertised keys".
        clients: The clients that did it.
        expected: The clients that could have done it.

    Raises:
        fedvsr.errors.SecureAggregationError: Fewer than the threshold did; the error names who is missing.
    """
    present = set(clients)
    if len(present) >= session.threshold:
        return
    missing = sorted(set(expected) - present)
    names = ", ".join(missing) or "none"
    reason = (
        f"{len(present)} clients {what}, the threshold is {session.threshold}; missing: {names}; "
        "nothing is opened"
    )
    raise SecureAggregationError(session.round, reason, missing)
