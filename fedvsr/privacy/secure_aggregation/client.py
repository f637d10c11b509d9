"""A client's part of the protocol. It trusts the server with nothing that it can check itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedvsr.codecs.packing import CHUNK_VALUES, pack_chunk, word_dtype
from fedvsr.errors import SecureAggregationError
from fedvsr.privacy.secure_aggregation.identity import Identity
from fedvsr.privacy.secure_aggregation.lists import (
    DeliveredShares,
    Roster,
    Survivors,
    check_threshold,
    read_list,
    senders_digest,
)
from fedvsr.privacy.secure_aggregation.masked_vector import write_masked_update
from fedvsr.privacy.secure_aggregation.masks import (
    Mask,
    MaskStreams,
    pairwise_mask,
    self_mask,
    word_mask,
)
from fedvsr.privacy.secure_aggregation.messages import Advertise, Shares, Unmask, read_advertise, refuse
from fedvsr.privacy.secure_aggregation.sealed_shares import (
    SharePair,
    ShareRoute,
    open_shares,
    seal_shares,
    share_encryption_key,
)
from fedvsr.privacy.secure_aggregation.session import Session
from fedvsr.privacy.secure_aggregation.session_keys import SessionKeys, commit_seed
from fedvsr.privacy.secure_aggregation.session_record import SessionRecord
from fedvsr.privacy.secure_aggregation.shamir import split_secret

Vector = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Participant:
    """A client in one session.

    Attributes:
        name: The client's name.
        identity: Its long-term secret.
        session: The session's parameters.
        public_keys: The long-term public keys of all clients of the session, as this client knows them.
        record: What the client has drawn and answered in this session.

    Raises:
        fedvsr.errors.SecureAggregationError: The client is not in the session, its own public key is not the
            known one, or the record is of another session.
    """

    name: str
    identity: Identity
    session: Session
    public_keys: Mapping[str, bytes]
    record: SessionRecord

    def __post_init__(self) -> None:
        if self.record.session != self.session_digest:
            raise self.refusal(
                f"the client's record is of session {self.record.session}, expected {self.session_digest}; "
                "begin the session with a new record"
            )
        if self.name not in self.session.clients:
            raise self.refusal(f"client {self.name!r} is not among the session's clients")
        if self.public_keys.get(self.name) != self.identity.public_key:
            raise self.refusal(
                f"the known public key of client {self.name!r} is not that of its own secret; "
                "have the new fingerprint approved"
            )

    @cached_property
    def session_digest(self) -> str:
        """The digest of the session's parameters."""
        return self.session.digest

    @cached_property
    def keys(self) -> SessionKeys:
        """The client's secrets for this session."""
        return SessionKeys.derive(self.identity, self.session_digest, self.record.nonce)

    def refusal(self, reason: str) -> SecureAggregationError:
        """Returns the error that this client refuses to go on."""
        return SecureAggregationError(self.session.round, reason)

    def route(self, roster: str, owner: str, holder: str) -> ShareRoute:
        """Returns from whom to whom shares go."""
        return ShareRoute(self.session_digest, roster, owner, holder)


def advertise(participant: Participant) -> bytes:
    """Phase 1: returns the message with the client's public keys. The same arguments give the same bytes."""
    session, keys = participant.session, participant.keys
    return Advertise.create(
        session,
        participant.identity,
        participant.name,
        mask_public_key=keys.mask_public_key,
        share_public_key=keys.share_public_key,
        seed_commitment=commit_seed(participant.session_digest, participant.name, keys.seed),
    ).to_bytes()


def share(participant: Participant, roster: bytes) -> SessionRecord:
    """Phase 2: shares the client's two secrets among the clients of the roster.

    Args:
        participant: The client.
        roster: The bytes of the server's `Roster`.

    Returns:
        The record with the message in ``shares``. Store it, then send the message. With a record that has
        shares already, they are returned as they are.

    Raises:
        fedvsr.errors.SecureAggregationError: The roster is refused, or differs from the first one.
    """
    advertised, digest = _read_roster(participant, roster)
    record, session, keys = participant.record, participant.session, participant.keys
    if record.shares is not None:
        return record
    clients = sorted(advertised)
    seeds = split_secret(keys.seed, session.threshold, len(clients))
    mask_keys = split_secret(keys.mask_key, session.threshold, len(clients))
    sealed = {}
    for holder, seed, mask_key in zip(clients, seeds, mask_keys, strict=True):
        route = participant.route(digest, participant.name, holder)
        key = share_encryption_key(keys, advertised[holder].share_public_key, participant.name, route)
        sealed[holder] = seal_shares(key, route, SharePair(seed, mask_key))
    message = Shares.create(session, participant.identity, participant.name, roster=digest, sealed=sealed)
    return record.model_copy(update={"roster": digest, "shares": message.to_bytes()})


def mask(
    participant: Participant, roster: bytes, delivered: bytes, vector: Vector
) -> tuple[bytes, SessionRecord]:
    """Phase 3: masks the client's vector.

    Args:
        participant: The client.
        roster: The bytes of the server's `Roster`.
        delivered: The bytes of the server's `DeliveredShares` for this client.
        vector: Unsigned integers below 2^k, of shape (length,). The sum of all clients' must be below 2^k
            too, see `session.modulus_bits`; nobody can check that.

    Returns:
        The message, and the record to store before it is sent. The same arguments give the same bytes.

    Raises:
        fedvsr.errors.SecureAggregationError: A list is refused, the vector does not fit the session, or the
            client has masked another vector in this session.
    """
    advertised, digest = _read_roster(participant, roster)
    if participant.record.shares is None:
        raise participant.refusal("the client has sent no shares in this session; share first")
    senders, _ = _read_delivered(participant, advertised, digest, delivered)
    packed = _mask_vector(participant, advertised, senders, vector)
    list_digest = senders_digest(participant.session_digest, digest, senders)
    message = write_masked_update(
        participant.session, participant.identity, participant.name, list_digest, packed
    )
    record, masked = participant.record, hashlib.sha256(message).hexdigest()
    if record.masked not in (None, masked):
        raise participant.refusal(
            "the client has masked another vector, or for other clients, in this session; two vectors under "
            "one mask would show their difference, so send the first message again or begin a new session"
        )
    return message, record.model_copy(update={"senders": list_digest, "masked": masked})


def unmask(
    participant: Participant, roster: bytes, delivered: bytes, survivors: bytes
) -> tuple[bytes, SessionRecord]:
    """Phase 4: opens one share per peer: of a survivor's self-mask seed, or of a dropped client's mask key.

    Args:
        participant: The client.
        roster: The bytes of the server's `Roster`.
        delivered: The bytes of the server's `DeliveredShares` for this client.
        survivors: The bytes of the server's `Survivors`.

    Returns:
        The message, and the record to store before it is sent. The same arguments give the same bytes.

    Raises:
        fedvsr.errors.SecureAggregationError: A list is refused, or the client has answered another list of
            survivors in this session.
    """
    advertised, digest = _read_roster(participant, roster)
    senders, pairs = _read_delivered(participant, advertised, digest, delivered)
    published = _read_survivors(participant, senders, survivors)
    record, answered = participant.record, published.digest
    if record.survivors not in (None, answered):
        raise participant.refusal(
            "the client has answered another list of survivors in this session; with both answers, both "
            "secrets of one client could be opened, so it answers the first list only"
        )
    message = Unmask.create(
        participant.session,
        participant.identity,
        participant.name,
        survivors=answered,
        seeds={name: pairs[name].seed for name in published.clients},
        mask_keys={name: pairs[name].mask_key for name in sorted(set(senders) - set(published.clients))},
    )
    return message.to_bytes(), record.model_copy(update={"survivors": answered})


def _read_roster(participant: Participant, data: bytes) -> tuple[dict[str, Advertise], str]:
    """Checks the roster against the known long-term keys; returns its messages and its digest."""
    session = participant.session
    roster = read_list(Roster, session, data)
    check_threshold(session, "advertised keys", roster.clients, session.clients)
    messages = {
        name: read_advertise(session, participant.public_keys, name, roster.messages[name])
        for name in roster.clients
    }
    if roster.messages.get(participant.name) != advertise(participant):
        raise participant.refusal(f"the roster does not have the keys that client {participant.name!r} sent")
    if participant.record.roster not in (None, roster.digest):
        raise participant.refusal("the roster differs from the one that the client's shares were made for")
    return messages, roster.digest


def _read_delivered(
    participant: Participant, advertised: Mapping[str, Advertise], roster: str, data: bytes
) -> tuple[tuple[str, ...], dict[str, SharePair]]:
    """Checks and decrypts the shares for this client; returns the senders and the shares by sender."""
    session, name = participant.session, participant.name
    delivered = read_list(DeliveredShares, session, data)
    if (delivered.recipient, delivered.roster) != (name, roster):
        raise participant.refusal(f"{delivered.what} is for another client or roster than {name!r}'s")
    check_threshold(session, "sent shares", delivered.senders, advertised)
    unknown = sorted(set(delivered.senders) - advertised.keys())
    if unknown or name not in delivered.senders:
        raise participant.refusal(
            f"{delivered.what} must be clients of the roster, {name!r} among them; "
            f"not in the roster: {', '.join(unknown) or 'none'}"
        )
    digest = senders_digest(participant.session_digest, roster, delivered.senders)
    if participant.record.senders not in (None, digest):
        raise participant.refusal(f"{delivered.what} differs from the one that the vector was masked for")
    pairs = {}
    for sender, sealed in delivered.sealed.items():
        route = participant.route(roster, sender, name)
        key = share_encryption_key(participant.keys, advertised[sender].share_public_key, name, route)
        try:
            pairs[sender] = open_shares(key, route, sealed)
        except ValueError as error:
            raise refuse(session, sender, f"the pair of shares for {name!r}", str(error)) from None
    return delivered.senders, pairs


def _read_survivors(participant: Participant, senders: tuple[str, ...], data: bytes) -> Survivors:
    session, name = participant.session, participant.name
    survivors = read_list(Survivors, session, data)
    if participant.record.masked is None:
        raise participant.refusal("the client has sent no masked update in this session; mask first")
    if survivors.senders != participant.record.senders:
        raise participant.refusal(f"{survivors.what} is for another list of share senders")
    if list(survivors.clients) != sorted(set(survivors.clients)):
        raise participant.refusal(f"{survivors.what} is not sorted, or has a name twice")
    check_threshold(session, "sent masked updates", survivors.clients, senders)
    unknown = sorted(set(survivors.clients) - set(senders))
    if unknown or name not in survivors.clients:
        raise participant.refusal(
            f"{survivors.what} must be share senders, {name!r} among them; "
            f"not among the senders: {', '.join(unknown) or 'none'}"
        )
    return survivors


def _mask_vector(
    participant: Participant, advertised: Mapping[str, Advertise], senders: tuple[str, ...], vector: Vector
) -> bytes:
    session = participant.session
    _check_vector(participant, vector)
    dtype = word_dtype(session.bits)
    streams = MaskStreams(_masks(participant, advertised, senders), dtype)
    low_bits = dtype.type(word_mask(session.bits))
    parts = []
    for start in range(0, session.length, CHUNK_VALUES):
        chunk = vector[start : start + CHUNK_VALUES]
        if int(chunk.max()) > low_bits:
            raise participant.refusal(f"expected values below 2^{session.bits}, {chunk.max()} came")
        words = chunk.astype(dtype)
        streams.apply(words)
        words &= low_bits
        parts.append(pack_chunk(words, session.bits))
    return b"".join(parts)


def _masks(
    participant: Participant, advertised: Mapping[str, Advertise], senders: tuple[str, ...]
) -> list[Mask]:
    session, name, keys = participant.session_digest, participant.name, participant.keys
    masks = [
        pairwise_mask(keys.mask_key, advertised[peer].mask_public_key, session, name, peer)
        for peer in senders
        if peer != name
    ]
    return [self_mask(keys.seed, session, name), *masks]


def _check_vector(participant: Participant, vector: Vector) -> None:
    length = participant.session.length
    if vector.shape != (length,) or vector.dtype.kind != "u":
        raise participant.refusal(
            f"expected a vector of {length} unsigned integers, came {vector.dtype} {list(vector.shape)}"
        )
