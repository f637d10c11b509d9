"""What the server has published in a round of secure aggregation, and what the clients have sent."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fedvsr.errors import DataError, NotFoundError, RecordError, SecureAggregationError
from fedvsr.federation import layout
from fedvsr.federation.communication import integer_vectors
from fedvsr.federation.public_keys import published_keys
from fedvsr.federation.records import PlanRecord, RunRecord, read_record, read_untrusted_record
from fedvsr.federation.secure_records import AgreementRecord, TrainedRecord
from fedvsr.federation.stored_weights import load_base_weights
from fedvsr.privacy.integer_vectors import IntegerVectors
from fedvsr.privacy.secure_aggregation.lists import Roster, Survivors
from fedvsr.privacy.secure_aggregation.masked_vector import max_masked_update_bytes
from fedvsr.privacy.secure_aggregation.messages import Unmask
from fedvsr.privacy.secure_aggregation.server import (
    MaskedSum,
    ShareTable,
    make_share_table,
    read_shares,
    read_unmask,
)
from fedvsr.privacy.secure_aggregation.session import Session
from fedvsr.store.base import Store
from fedvsr.text import printable
from fedvsr.weights import specs_of

Message = TypeVar("Message")
Read = Callable[[str, bytes], Message]


@dataclass(frozen=True)
class SecureLists:
    """The objects of one round of secure aggregation in the federation's store.

    Attributes:
        store: The federation's store.
        record: The run's record.
        plan: The round's plan.
        refused: The reason for each client with a message that was refused; grows as messages are read.
        accepted: The valid messages by phase and client. They do not change, so they are read once.
    """

    store: Store
    record: RunRecord
    plan: PlanRecord
    refused: dict[str, str] = field(default_factory=dict)
    accepted: dict[tuple[str, str], Any] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Returns the key of a list."""
        return layout.secure_list(self.plan.run, self.plan.round, name)

    def publish(self, name: str, data: bytes) -> None:
        """Writes a list."""
        self.store.write(self.key(name), data)

    def read(self, name: str) -> bytes | None:
        """Returns a list's bytes, or None if it has not been published."""
        try:
            return self.store.read(self.key(name))
        except NotFoundError:
            return None

    def session(self) -> Session | None:
        """Returns the session, or None if it has not begun."""
        data = self.read("session")
        return None if data is None else Session.from_bytes(data)

    def agreement(self) -> AgreementRecord:
        """Returns the shares and scales of the session."""
        return read_record(self.store, self.key("agreement"), AgreementRecord)

    def keys(self, session: Session) -> dict[str, bytes]:
        """Returns the clients' long-term public keys."""
        return published_keys(self.store, session.clients)

    def roster(self, session: Session) -> Roster:
        """Returns the published roster."""
        return Roster.from_bytes(self.store.read(self.key("roster")), len(session.clients))

    def table(self, session: Session, keys: Mapping[str, bytes]) -> ShareTable:
        """Returns the messages of the first two phases, of the clients whose shares were passed on."""
        roster = self.roster(session)
        senders = json.loads(self.store.read(self.key("senders")))
        messages = {}
        for client in senders:
            data = self.store.read(self.message_key(client, "shares"))
            messages[client] = read_shares(session, keys, roster, client, data)
        return make_share_table(session, roster, messages)

    def survivors(self, session: Session) -> Survivors | None:
        """Returns the published survivors, or None."""
        data = self.read("survivors")
        return None if data is None else Survivors.from_bytes(data, len(session.clients))

    def answers(
        self, table: ShareTable, keys: Mapping[str, bytes], survivors: Survivors
    ) -> dict[str, Unmask]:
        """Returns the survivors' messages of the last phase, as far as they are there and valid."""

        def read(client: str, data: bytes) -> Unmask:
            return read_unmask(table, keys, survivors, client, data)

        return self.messages("unmask", survivors.clients, Unmask.max_bytes(len(table.senders)), read)

    def messages(
        self, phase: str, clients: Collection[str], max_bytes: int, read: Read[Message]
    ) -> dict[str, Message]:
        """Reads the messages of a phase.

        A client whose message is not valid is refused, and has no message.

        Args:
            phase: The phase.
            clients: The clients that may have sent one.
            max_bytes: The largest size of a message.
            read: Parses and checks a client's message.
        """

        def read_bounded(client: str) -> Message:
            key = self.message_key(client, phase)
            size = self.store.size(key)
            if size > max_bytes:
                raise RecordError(f"{key} is {size} bytes, a message has at most {max_bytes}")
            return read(client, self.store.read(key))

        return self._accept(phase, clients, read_bounded)

    def trained(self) -> dict[str, TrainedRecord]:
        """Returns what the plan's clients say about their training, sorted by their names."""

        def read(client: str) -> TrainedRecord:
            key = layout.trained(self.plan.run, self.plan.round, client)
            record = read_untrusted_record(self.store, key, TrainedRecord)
            _check_trained(record, self.plan, client, len(self.vectors.tensors))
            return record

        return self._accept("trained", sorted(self.plan.clients), read)

    def _accept(
        self, phase: str, clients: Collection[str], read: Callable[[str], Message]
    ) -> dict[str, Message]:
        """Returns the valid messages of a phase, and refuses the clients whose message is not valid."""
        for client in clients:
            if client in self.refused or (phase, client) in self.accepted:
                continue
            try:
                self.accepted[phase, client] = read(client)
            except NotFoundError:
                continue
            except (RecordError, SecureAggregationError) as error:
                self.refused[client] = printable(str(error))
        return {
            client: self.accepted[phase, client] for client in clients if (phase, client) in self.accepted
        }

    def add_masked(self, masked_sum: MaskedSum, session: Session, client: str, folder: Path) -> None:
        """Adds a client's masked update to the sum.

        Raises:
            fedvsr.errors.DataError: It is missing or too large.
            fedvsr.errors.SecureAggregationError: It is refused.
        """
        key = layout.update(self.plan.run, self.plan.round, client)
        size, limit = self.store.size(key), max_masked_update_bytes(session)
        if size > limit:
            raise DataError(f"{key} is {size} bytes, a masked update of this model has at most {limit}")
        masked_sum.add(client, self.store.fetch(key, folder).read_bytes())

    @cached_property
    def vectors(self) -> IntegerVectors:
        """How the model's tensors become integers. The first use reads the global weights."""
        return integer_vectors(
            self.record.config, self.plan, specs_of(load_base_weights(self.store, self.plan))
        )

    def message_key(self, client: str, phase: str) -> str:
        """Returns the key of a client's message."""
        return layout.secure_message(self.plan.run, self.plan.round, client, phase)


def _check_trained(record: TrainedRecord, plan: PlanRecord, client: str, tensors: int) -> None:
    expected = {"run": plan.run, "round": plan.round, "client": client, "base_digest": plan.base_digest}
    for name, value in expected.items():
        if getattr(record, name) != value:
            raise RecordError(f"its training record has {name} {getattr(record, name)}, expected {value}")
    if len(record.maxima) != tensors:
        raise RecordError(
            f"its training record has {len(record.maxima)} maxima, the model has {tensors} tensors"
        )
