"""The server's part of the protocol: lists between the phases, and the sum of the clients' vectors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedvsr.codecs.packing import CHUNK_VALUES, unpack_chunks, word_dtype
from fedvsr.errors import SecureAggregationError
from fedvsr.privacy.secure_aggregation.lists import (
    DeliveredShares,
    Roster,
    Survivors,
    check_threshold,
    senders_digest,
)
from fedvsr.privacy.secure_aggregation.masked_vector import Buffer, read_masked_update
from fedvsr.privacy.secure_aggregation.masks import (
    Mask,
    MaskStreams,
    Words,
    pairwise_mask,
    self_mask,
    word_mask,
)
from fedvsr.privacy.secure_aggregation.messages import (
    Advertise,
    MaskedUpdate,
    Shares,
    Unmask,
    read_advertise,
    read_message,
    refuse,
)
from fedvsr.privacy.secure_aggregation.sealed_shares import MASK_KEY, SEED, SealedShares, ShareRoute
from fedvsr.privacy.secure_aggregation.session import Session
from fedvsr.privacy.secure_aggregation.session_keys import commit_seed, public_key_of
from fedvsr.privacy.secure_aggregation.shamir import combine_shares

__all__ = [
    "MaskedSum",
    "ShareTable",
    "make_roster",
    "make_share_table",
    "open_sum",
    "read_advertise",
    "read_shares",
    "read_unmask",
]


def make_roster(session: Session, advertised: Mapping[str, Advertise]) -> Roster:
    """Lists the clients that advertised keys.

    Args:
        session: The session.
        advertised: Their messages, as `read_advertise` returns them.

    Raises:
        fedvsr.errors.SecureAggregationError: Fewer than the threshold; the error names who is missing.
    """
    check_threshold(session, "advertised keys", advertised, session.clients)
    return Roster.create(session, messages={name: advertised[name].to_bytes() for name in sorted(advertised)})


def read_shares(
    session: Session, public_keys: Mapping[str, bytes], roster: Roster, client: str, data: bytes
) -> Shares:
    """Parses and checks a client's message of phase 2.

    Args:
        session: The session.
        public_keys: The clients' long-term public keys.
        roster: The roster.
        client: The client that must have sent it.
        data: The message's bytes.

    Raises:
        fedvsr.errors.SecureAggregationError: The message is refused; the error names the client.
    """
    message = read_message(Shares, session, public_keys, client, data)
    if message.roster != roster.digest or client not in roster.messages:
        reason = f"it is for another roster: expected {roster.digest}, {message.roster} came"
        raise refuse(session, client, message.what, reason)
    if message.sealed.keys() != roster.messages.keys():
        names = ", ".join(sorted(message.sealed.keys() ^ roster.messages.keys()))
        raise refuse(session, client, message.what, f"expected shares for the roster; different: {names}")
    return message


@dataclass(frozen=True)
class ShareTable:
    """The messages of phases 1 and 2, complete.

    Attributes:
        session: The session.
        roster: The roster.
        shares: The message of each share sender, sorted by name.
    """

    session: Session
    roster: Roster
    shares: Mapping[str, Shares]

    @property
    def senders(self) -> tuple[str, ...]:
        """The clients that sent shares, sorted."""
        return tuple(self.shares)

    @cached_property
    def session_digest(self) -> str:
        """The digest of the session's parameters."""
        return self.session.digest

    @cached_property
    def roster_digest(self) -> str:
        """The roster's digest."""
        return self.roster.digest

    @cached_property
    def senders_digest(self) -> str:
        """The digest of the list of share senders."""
        return senders_digest(self.session_digest, self.roster_digest, self.senders)

    @cached_property
    def advertised(self) -> dict[str, Advertise]:
        """The message of phase 1 of each client of the roster; the roster's messages have been checked."""
        return {name: Advertise.from_bytes(data) for name, data in self.roster.messages.items()}

    def deliver(self, recipient: str) -> DeliveredShares:
        """Returns the list of share senders for one of them, with the shares for it."""
        return DeliveredShares.create(
            self.session,
            roster=self.roster_digest,
            recipient=recipient,
            sealed={name: message.sealed[recipient] for name, message in self.shares.items()},
        )

    def sealed(self, owner: str, holder: str) -> SealedShares:
        """Returns the shares of an owner's secrets that a holder got."""
        return self.shares[owner].sealed[holder]


def make_share_table(session: Session, roster: Roster, shares: Mapping[str, Shares]) -> ShareTable:
    """Ends phase 2.

    Args:
        session: The session.
        roster: The roster.
        shares: The messages, as `read_shares` returns them.

    Raises:
        fedvsr.errors.SecureAggregationError: Fewer than the threshold; the error names who is missing.
    """
    check_threshold(session, "sent shares", shares, roster.clients)
    return ShareTable(session, roster, {name: shares[name] for name in sorted(shares)})


class MaskedSum:
    """The sum of masked vectors modulo 2^k. The order in which they are added does not matter.

    Args:
        table: The messages of phases 1 and 2.
        public_keys: The clients' long-term public keys.
    """

    def __init__(self, table: ShareTable, public_keys: Mapping[str, bytes]) -> None:
        self._table, self._public_keys = table, public_keys
        self._clients: set[str] = set()
        self._words: Words = np.zeros(table.session.length, word_dtype(table.session.bits))

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients whose vectors are in the sum, sorted."""
        return tuple(sorted(self._clients))

    @property
    def words(self) -> Words:
        """The masked sum so far, modulo the size of a word."""
        return self._words

    def add(self, client: str, data: Buffer) -> None:
        """Checks a client's masked update and adds its vector.

        Args:
            client: The client that must have sent it.
            data: The message's bytes, or a map of a file.

        Raises:
            fedvsr.errors.SecureAggregationError: The message is refused, and the sum is as it was; the error
                names the client.
        """
        table = self._table
        session = table.session
        if client in self._clients:
            raise refuse(session, client, MaskedUpdate.what, "the client's vector is in the sum already")
        if client not in table.shares:
            raise refuse(session, client, MaskedUpdate.what, "the client sent no shares")
        packed = read_masked_update(session, self._public_keys, client, table.senders_digest, data)
        for start, chunk in unpack_chunks(packed, session.bits, session.length):
            part = self._words[start : start + chunk.size]
            part += chunk
        self._clients.add(client)

    def survivors(self) -> Survivors:
        """Ends phase 3 and lists the clients whose vectors are in the sum.

        Publish one list for a session and keep to it: clients refuse to answer a second one. A masked update
        that comes later is not added.

        Raises:
            fedvsr.errors.SecureAggregationError: Fewer than the threshold; the error names who is missing.
        """
        table = self._table
        check_threshold(table.session, "sent masked updates", self._clients, table.senders)
        return Survivors.create(table.session, senders=table.senders_digest, clients=self.clients)


def read_unmask(
    table: ShareTable, public_keys: Mapping[str, bytes], survivors: Survivors, client: str, data: bytes
) -> Unmask:
    """Parses a client's message of phase 4, and compares its shares with their commitments.

    Args:
        table: The messages of phases 1 and 2.
        public_keys: The clients' long-term public keys.
        survivors: The list of survivors.
        client: The client that must have sent it.
        data: The message's bytes.

    Raises:
        fedvsr.errors.SecureAggregationError: The message is refused; the error names the client.
    """
    session = table.session
    message = read_message(Unmask, session, public_keys, client, data)
    if message.survivors != survivors.digest or client not in survivors.clients:
        reason = (
            f"it answers another list of survivors: expected {survivors.digest}, {message.survivors} came"
        )
        raise refuse(session, client, message.what, reason)
    dropped = set(table.senders) - set(survivors.clients)
    if message.seeds.keys() != set(survivors.clients) or message.mask_keys.keys() != dropped:
        reason = (
            "expected a seed's share of every survivor and a mask key's of every dropped client, others came"
        )
        raise refuse(session, client, message.what, reason)
    for secret_name, shares in ((SEED, message.seeds), (MASK_KEY, message.mask_keys)):
        for owner, share in shares.items():
            sealed = table.sealed(owner, client)
            committed = sealed.seed_commitment if secret_name == SEED else sealed.mask_key_commitment
            route = ShareRoute(table.session_digest, table.roster_digest, owner, client)
            if route.commit(secret_name, share) != committed:
                reason = (
                    f"its share of the {secret_name} of {owner!r} is not the one that {owner!r} committed to"
                )
                raise refuse(session, client, message.what, reason)
    return message


def open_sum(
    table: ShareTable, masked_sum: MaskedSum, survivors: Survivors, answers: Mapping[str, Unmask]
) -> Words:
    """Removes the masks.

    Args:
        table: The messages of phases 1 and 2.
        masked_sum: The sum of the survivors' masked vectors.
        survivors: The list of survivors.
        answers: The messages of phase 4, as `read_unmask` returns them; at least the threshold.

    Returns:
        The sum of the survivors' vectors modulo 2^k, uint8, uint16 or uint32, of shape (length,).

    Raises:
        fedvsr.errors.SecureAggregationError: Fewer than the threshold answered, and the error names who is
            missing; or a client shared something else than its secrets, and the error names it. Nothing is
            opened.
    """
    session = table.session
    check_threshold(session, "opened shares", answers, survivors.clients)
    if masked_sum.clients != survivors.clients:
        reason = (
            f"the sum is of {', '.join(masked_sum.clients)}, the published survivors are "
            f"{', '.join(survivors.clients)}; add the masked updates of exactly the survivors"
        )
        raise SecureAggregationError(session.round, reason)
    streams = MaskStreams(_survivors_masks(table, survivors, answers), masked_sum.words.dtype)
    words = masked_sum.words.copy()
    low_bits = words.dtype.type(word_mask(session.bits))
    for start in range(0, words.size, CHUNK_VALUES):
        part = words[start : start + CHUNK_VALUES]
        streams.apply(part)
        part &= low_bits
    return words


def _survivors_masks(table: ShareTable, survivors: Survivors, answers: Mapping[str, Unmask]) -> list[Mask]:
    """Reconstructs what is left of the masks in the sum, with the signs that take them away."""
    session, digest = table.session, table.session_digest
    holders = sorted(answers)[: session.threshold]
    masks = []
    for owner in survivors.clients:
        seed = _combine(table, holders, (answers[holder].seeds[owner] for holder in holders))
        if commit_seed(digest, owner, seed) != table.advertised[owner].seed_commitment:
            raise _false_shares(session, owner, SEED)
        masks.append(self_mask(seed, digest, owner).reversed())
    for owner in sorted(set(table.senders) - set(survivors.clients)):
        private_key = _combine(table, holders, (answers[holder].mask_keys[owner] for holder in holders))
        if public_key_of(private_key) != table.advertised[owner].mask_public_key:
            raise _false_shares(session, owner, MASK_KEY)
        masks += [
            pairwise_mask(private_key, table.advertised[peer].mask_public_key, digest, peer, owner).reversed()
            for peer in survivors.clients
        ]
    return masks


def _combine(table: ShareTable, holders: Iterable[str], shares: Iterable[bytes]) -> bytes:
    numbers = {name: number for number, name in enumerate(table.roster.clients, 1)}
    return combine_shares({numbers[holder]: share for holder, share in zip(holders, shares, strict=True)})


def _false_shares(session: Session, owner: str, secret_name: str) -> SecureAggregationError:
    # The holders' shares have matched the owner's commitments, so the owner is to blame.
    reason = (
        f"its shares do not give the {secret_name} that it advertised; leave the client out and begin again"
    )
    return refuse(session, owner, Shares.what, reason)
