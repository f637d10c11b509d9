"""A session with all its parties in one process; the messages are bytes, as they travel."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedvsr.privacy.secure_aggregation import client, server
from fedvsr.privacy.secure_aggregation.client import Participant, Vector
from fedvsr.privacy.secure_aggregation.identity import Identity
from fedvsr.privacy.secure_aggregation.lists import Roster, Survivors
from fedvsr.privacy.secure_aggregation.server import MaskedSum, ShareTable
from fedvsr.privacy.secure_aggregation.session import Session, min_threshold
from fedvsr.privacy.secure_aggregation.session_record import SessionRecord, begin_session

AGREEMENT = hashlib.sha256(b"weights and scales").hexdigest()


def names(count: int) -> tuple[str, ...]:
    return tuple(f"client-{number:03d}" for number in range(count))


def make_session(count: int, **changes: object) -> Session:
    parameters = {
        "run": "demo",
        "round": 3,
        "identifier": "first",
        "clients": names(count),
        "threshold": max(min_threshold(count), -(-2 * count // 3)),
        "bits": 20,
        "length": 1000,
        "agreement": AGREEMENT,
    }
    return Session(**(parameters | changes))


def make_identity(name: str) -> Identity:
    """A secret that is the same in every test, so that a failure can be repeated."""
    return Identity(hashlib.sha256(name.encode()).digest())


def make_vector(session: Session, seed: int) -> Vector:
    """Values whose sum over all clients is below 2^bits."""
    largest = ((1 << session.bits) - 1) // len(session.clients)
    return np.random.default_rng(seed).integers(0, largest, session.length, np.uint32, endpoint=True)


def make_record(session: Session, name: str) -> SessionRecord:
    """A record with a nonce that is the same in every test."""
    nonce = hashlib.sha256(f"{name} {session.identifier}".encode()).digest()
    return begin_session(session).model_copy(update={"nonce": nonce})


@dataclass
class Parties:
    """The clients and the server of one session, and everything that they have sent."""

    session: Session
    identities: dict[str, Identity] = field(init=False)
    public_keys: dict[str, bytes] = field(init=False)
    records: dict[str, SessionRecord] = field(init=False)
    vectors: dict[str, Vector] = field(init=False)
    advertised: dict[str, bytes] = field(default_factory=dict)
    shared: dict[str, bytes] = field(default_factory=dict)
    masked: dict[str, bytes] = field(default_factory=dict)
    unmasked: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.identities = {name: make_identity(name) for name in self.session.clients}
        self.public_keys = {name: identity.public_key for name, identity in self.identities.items()}
        self.records = {name: make_record(self.session, name) for name in self.session.clients}
        self.vectors = {
            name: make_vector(self.session, seed) for seed, name in enumerate(self.session.clients)
        }

    def participant(self, name: str) -> Participant:
        return Participant(name, self.identities[name], self.session, self.public_keys, self.records[name])

    def advertise(self, clients: Iterable[str] | None = None) -> Roster:
        for name in self.session.clients if clients is None else clients:
            self.advertised[name] = client.advertise(self.participant(name))
        read = {
            name: server.read_advertise(self.session, self.public_keys, name, data)
            for name, data in self.advertised.items()
        }
        self.roster = server.make_roster(self.session, read)
        return self.roster

    def share(self, clients: Iterable[str] | None = None) -> ShareTable:
        roster = self.roster.to_bytes()
        for name in self.roster.clients if clients is None else clients:
            self.records[name] = client.share(self.participant(name), roster)
            self.shared[name] = self.records[name].shares
        read = {
            name: server.read_shares(self.session, self.public_keys, self.roster, name, data)
            for name, data in self.shared.items()
        }
        self.table = server.make_share_table(self.session, self.roster, read)
        return self.table

    def mask(self, clients: Iterable[str] | None = None) -> Survivors:
        for name in self.table.senders if clients is None else clients:
            self.masked[name], self.records[name] = client.mask(
                self.participant(name), *self.lists(name), self.vectors[name]
            )
        self.sum = self.add(self.masked)
        self.survivors = self.sum.survivors()
        return self.survivors

    def add(self, masked: Mapping[str, bytes]) -> MaskedSum:
        masked_sum = MaskedSum(self.table, self.public_keys)
        for name, data in masked.items():
            masked_sum.add(name, data)
        return masked_sum

    def unmask(self, clients: Iterable[str] | None = None) -> None:
        survivors = self.survivors.to_bytes()
        for name in self.survivors.clients if clients is None else clients:
            self.unmasked[name], self.records[name] = client.unmask(
                self.participant(name), *self.lists(name), survivors
            )

    def open(self) -> Vector:
        answers = {
            name: server.read_unmask(self.table, self.public_keys, self.survivors, name, data)
            for name, data in self.unmasked.items()
        }
        return server.open_sum(self.table, self.sum, self.survivors, answers)

    def lists(self, name: str) -> tuple[bytes, bytes]:
        """The roster, and the shares for a client."""
        return self.roster.to_bytes(), self.table.deliver(name).to_bytes()

    def go_to(self, phase: str) -> "Parties":
        """Goes through the phases up to one of advertise, share, mask and unmask."""
        for step in ("advertise", "share", "mask", "unmask"):
            getattr(self, step)()
            if step == phase:
                break
        return self

    def plain_sum(self, clients: Iterable[str]) -> Vector:
        total = sum(self.vectors[name].astype(np.uint64) for name in clients)
        return total % (1 << self.session.bits)
