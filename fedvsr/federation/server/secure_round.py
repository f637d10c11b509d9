"""The server's part of a round with secure aggregation: what it publishes between the phases.

The store is the server's only memory: `SecureRound.advance` looks at it and publishes the next list, if its
phase is over. What has been published does not change, so it is read once. A phase ends as soon as every
client has sent its message or has an outcome already, and at the latest after ``privacy.phase_seconds``, if
enough clients are there. A server that was killed goes on with what is stored.
"""

import json
import math
import tempfile
import uuid
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

from fedvsr.errors import DataError, NotFoundError, SecureAggregationError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, RunRecord
from fedvsr.federation.secure_records import AgreementRecord, EndedRecord
from fedvsr.federation.server.contributions import contributions, round_context
from fedvsr.federation.server.secure_lists import SecureLists
from fedvsr.privacy.secure_aggregation.canonical import MIN_CLIENTS
from fedvsr.privacy.secure_aggregation.messages import Advertise, Shares, read_advertise
from fedvsr.privacy.secure_aggregation.server import (
    MaskedSum,
    ShareTable,
    make_roster,
    make_share_table,
    read_shares,
)
from fedvsr.privacy.secure_aggregation.session import Session, min_threshold, modulus_bits
from fedvsr.store.base import Store, bytes_digest
from fedvsr.strategies.registry import build_strategy
from fedvsr.text import printable

# The part of a round's deadline in which clients may train. The phases need the rest.
_TRAINING_PART = 0.75


class SecureRound:
    """One round's secure aggregation at the server.

    Args:
        store: The federation's store.
        record: The run's record.
        plan: The round's plan.
    """

    def __init__(self, store: Store, record: RunRecord, plan: PlanRecord) -> None:
        self._lists = SecureLists(store, record, plan)
        self._store, self._config, self._plan = store, record.config, plan
        self._session: Session | None = None
        self._keys: dict[str, bytes] = {}
        self._table: ShareTable | None = None

    @property
    def refused(self) -> dict[str, str]:
        """The reason for each client with a message that was refused."""
        return self._lists.refused

    def begin_again(self) -> None:
        """Deletes what an aggregation without a sum has left, so that the clients begin another session."""
        if self._lists.read("ended") is None:
            return
        run, round_number = self._plan.run, self._plan.round
        for client in self._plan.clients:
            for phase in layout.SECURE_PHASES:
                self._store.delete(self._lists.message_key(client, phase))
            self._store.delete(layout.report(run, round_number, client))
            self._store.delete(layout.update(run, round_number, client))
        ended = self._lists.key("ended")
        for key in list(self._store.keys(layout.secure_lists(run, round_number))):
            if key != ended:
                self._store.delete(key)
        # Deleted last, so that a server that is killed here deletes the rest when it comes back.
        self._store.delete(ended)

    def advance(self, gone: AbstractSet[str]) -> bool:
        """Publishes the next list if its phase is over.

        Args:
            gone: The clients that have an outcome already and will send nothing more.

        Returns:
            Whether the sum can be opened.

        Raises:
            fedvsr.errors.SecureAggregationError: Too few clients are left. The clients are told, and
                nothing is opened.
        """
        try:
            return self._advance(gone)
        except SecureAggregationError as error:
            self.end(error.reason)
            raise

    def end(self, reason: str) -> None:
        """Tells the clients that there will be no sum, and why."""
        self._lists.publish("ended", EndedRecord(reason=reason).to_bytes())

    def _advance(self, gone: AbstractSet[str]) -> bool:
        session = self._session = self._session or self._lists.session()
        if session is None:
            self._publish_session(gone)
            return False
        keys = self._keys = self._keys or self._lists.keys(session)
        if self._table is None:
            if self._lists.read("roster") is None:
                self._publish_roster(session, keys, gone)
                return False
            if self._lists.read("senders") is None:
                self._publish_shares(session, keys, gone)
                return False
            self._table = self._lists.table(session, keys)
        survivors = self._lists.survivors(session)
        if survivors is None:
            self._publish_survivors(self._table, keys, gone)
            return False
        answers = self._lists.answers(self._table, keys, survivors)
        if len(answers) >= session.threshold:
            return True
        if self._is_over("survivors", survivors.clients, answers, gone):
            missing = ", ".join(sorted(set(survivors.clients) - answers.keys()))
            reason = (
                f"{len(answers)} clients opened their shares, {session.threshold} are needed; "
                f"missing: {missing}"
            )
            raise SecureAggregationError(self._plan.round, reason)
        return False

    def _publish_session(self, gone: AbstractSet[str]) -> None:
        """Begins the session with the clients that have trained."""
        trained = self._lists.trained()
        waiting = set(self._plan.clients) - gone - trained.keys() - self.refused.keys()
        age = self._store.age(layout.plan(self._plan.run, self._plan.round))
        if waiting and age < _TRAINING_PART * self._plan.deadline_seconds:
            return
        count, needed = len(trained), max(MIN_CLIENTS, self._plan.quorum)
        if count < needed:
            missing = ", ".join(sorted(set(self._plan.clients) - trained.keys()))
            reason = f"{count} clients have trained, {needed} are needed; missing: {missing}"
            raise SecureAggregationError(self._plan.round, reason)
        strategy = build_strategy(self._config.strategy.name, self._config.strategy.options)
        shares = strategy.share_out(
            contributions(trained.values()), round_context(self._config, self._plan, strategy)
        )
        vectors = self._lists.vectors
        agreement = AgreementRecord(
            base_digest=self._plan.sent_digest or self._plan.base_digest,
            weights=shares.weights,
            scales=vectors.scales({name: record.maxima for name, record in trained.items()}, shares.weights),
            diagnostics=shares.diagnostics,
            weights_before_bound=shares.weights_before_bound,
        ).to_bytes()
        session = Session(
            run=self._plan.run,
            round=self._plan.round,
            identifier=uuid.uuid4().hex,
            clients=tuple(sorted(trained)),
            threshold=_threshold(self._config.privacy.threshold, count),
            bits=modulus_bits(vectors.top, count),
            length=vectors.length,
            agreement=bytes_digest(agreement),
        )
        self._lists.publish("agreement", agreement)
        self._lists.publish("session", session.to_bytes())

    def _publish_roster(self, session: Session, keys: dict[str, bytes], gone: AbstractSet[str]) -> None:
        def read(client: str, data: bytes) -> Advertise:
            return read_advertise(session, keys, client, data)

        advertised = self._lists.messages("advertise", session.clients, Advertise.max_bytes(), read)
        if self._is_over("session", session.clients, advertised, gone):
            self._lists.publish("roster", make_roster(session, advertised).to_bytes())

    def _publish_shares(self, session: Session, keys: dict[str, bytes], gone: AbstractSet[str]) -> None:
        roster = self._lists.roster(session)

        def read(client: str, data: bytes) -> Shares:
            return read_shares(session, keys, roster, client, data)

        max_bytes = Shares.max_bytes(len(roster.clients))
        sent = self._lists.messages("shares", roster.clients, max_bytes, read)
        if not self._is_over("roster", roster.clients, sent, gone):
            return
        table = make_share_table(session, roster, sent)
        for client in table.senders:
            self._lists.publish(f"shares-for-{client}", table.deliver(client).to_bytes())
        # Written last: it names the messages that the lists above were made of.
        self._lists.publish("senders", json.dumps(table.senders).encode())

    def _publish_survivors(self, table: ShareTable, keys: dict[str, bytes], gone: AbstractSet[str]) -> None:
        delivered = [
            client
            for client in table.senders
            if self._store.exists(layout.report(self._plan.run, self._plan.round, client))
        ]
        if not self._is_over("senders", table.senders, delivered, gone):
            return
        masked_sum = MaskedSum(table, keys)
        for client in delivered:
            with tempfile.TemporaryDirectory(prefix="fedvsr-masked-") as folder:
                try:
                    self._lists.add_masked(masked_sum, table.session, client, Path(folder))
                except (DataError, NotFoundError, SecureAggregationError) as error:
                    self.refused[client] = printable(str(error))
        self._lists.publish("survivors", masked_sum.survivors().to_bytes())

    def _is_over(
        self, since: str, clients: Iterable[str], sent: Collection[str], gone: AbstractSet[str]
    ) -> bool:
        """Returns whether nothing more is expected in the phase that began when a list was published."""
        if set(clients) <= {*sent, *gone, *self.refused}:
            return True
        return self._store.age(self._lists.key(since)) > self._config.privacy.phase_seconds


def _threshold(share: float, clients: int) -> int:
    # 2/3 of 3 clients are 2, although the float is a little above.
    return max(min_threshold(clients), math.ceil(share * clients - 1e-9))
