"""A client's way through secure aggregation: from its trained weights to its masked update.

The client trains first, keeps its update in its own store and tells the server its loss and its counts. Then
it sends one message in each phase (`fedvsr.privacy.secure_aggregation`), as soon as the server has published
what that phase needs. All that it has drawn and answered is in its own store before it is sent. So a client
that was killed goes on where it was, with the same keys and the same bytes.
"""

import threading
from dataclasses import replace

import numpy as np

from fedvsr.errors import NotFoundError, SecureAggregationError, TrainingError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.communication import differences, integer_vectors, rounding_seed
from fedvsr.federation.delivery import has_opened_shares
from fedvsr.federation.public_keys import learn_keys, own_identity, publish_key, published_keys
from fedvsr.federation.records import (
    PlanRecord,
    ReportRecord,
    RunRecord,
    TrainingFacts,
    read_record,
    write_record,
)
from fedvsr.federation.secure_records import AgreementRecord, EndedRecord, TrainedRecord
from fedvsr.privacy.clipping import norm_of
from fedvsr.privacy.secure_aggregation import client as protocol
from fedvsr.privacy.secure_aggregation.client import Participant
from fedvsr.privacy.secure_aggregation.session import Session
from fedvsr.privacy.secure_aggregation.session_record import SessionRecord, begin_session
from fedvsr.store.base import Store, bytes_digest, check_bytes
from fedvsr.weights import Tensors, load, serialize, specs_of

# How often a waiting client looks at the server's lists.
_POLL_SECONDS = 0.5
_DIFFERENCES = "differences.safetensors"
_TRAINED = "trained.json"
_SESSION = "session.json"


class SecureDelivery:
    """One client's part in one round.

    Args:
        federation: The federation's store.
        own: The client's own store.
        record: The run's record.
        plan: The round's plan.
        client: The client's name.
    """

    def __init__(
        self, federation: Store, own: Store, record: RunRecord, plan: PlanRecord, client: str
    ) -> None:
        self._federation, self._own = federation, own
        self._config, self._plan, self._client = record.config, plan, client
        self._folder = layout.secure_folder(plan.run, record.identity, plan.round)
        self._identity = own_identity(own)
        self._has_announced = False
        # What was read and sent in the current session. A waiting client looks often, and reads none twice.
        self._lists: dict[str, bytes] = {}
        self._sent: dict[str, bytes] = {}
        self._public_keys: dict[str, bytes] = {}
        self._report: ReportRecord | None = None

    @property
    def is_trained(self) -> bool:
        """Whether the client has trained for this round and its update is in its own store."""
        update = self._folder + _DIFFERENCES
        has_update = self._own.exists(update) and self._own.size(update) > 0
        return has_update and self._own.exists(self._folder + _TRAINED)

    @property
    def is_finished(self) -> bool:
        """Whether the client has sent its last message."""
        return has_opened_shares(self._federation, self._plan, self._client)

    def begin(self, weights: Tensors, sent: Tensors, facts: TrainingFacts) -> None:
        """Keeps the update in the client's own store.

        Args:
            weights: The client's weights after its training.
            sent: The weights that it started from.
            facts: What the client says about its training.

        Raises:
            fedvsr.errors.WeightsError: A value is not finite, or too large to be rotated.
            fedvsr.errors.TrainingError: The update's norm is above ``privacy.norm_bound``.
        """
        changes = dict(differences(weights, sent))
        self._check_norm(changes)
        try:
            maxima = integer_vectors(self._config, self._plan, specs_of(weights)).maxima(changes)
        except OverflowError as error:
            raise WeightsError(f"the update cannot be masked: {error}") from None
        self._own.write(self._folder + _DIFFERENCES, serialize(changes))
        trained = TrainedRecord(**facts.model_dump(), maxima=maxima)
        write_record(self._own, self._folder + _TRAINED, trained)

    def finish(self) -> ReportRecord:
        """Goes through the phases that are left, and waits for the server between them.

        Returns:
            The client's report.

        Raises:
            fedvsr.errors.FedVSRError: As `advance`.
        """
        pause = threading.Event()
        while True:
            if self.is_finished:
                return read_record(self._federation, self._report_key, ReportRecord)
            report = self.advance()
            if report:
                return report
            pause.wait(_POLL_SECONDS)

    def advance(self) -> ReportRecord | None:
        """Does what can be done now.

        Returns:
            The report if the client has sent its last message; None if it waits for the server.

        Raises:
            fedvsr.errors.SecureAggregationError: The server has ended the aggregation, has left this client
                out, or has published what this client refuses.
            fedvsr.errors.RecordError: A record is damaged, or another client's key has changed.
        """
        self._announce()
        self._check_not_ended()
        session_data = self._look("session")
        if session_data is None:
            return None
        self._begin_session(session_data)
        session = Session.from_bytes(session_data)
        if self._client not in session.clients:
            raise self._refusal("it began without this client, which had trained too late")
        participant = self._participant(session)
        self._send("advertise", protocol.advertise(participant))
        roster = self._read_list("roster")
        if roster is None:
            return None
        participant = self._keep(participant, protocol.share(participant, roster))
        assert participant.record.shares is not None
        self._send("shares", participant.record.shares)
        delivered = self._read_list(f"shares-for-{self._client}")
        if delivered is None:
            if self._read_list("senders") is not None:
                raise self._refusal("the server has gone on without this client, whose shares came too late")
            return None
        report = self._deliver_masked(participant, roster, delivered)
        survivors = self._read_list("survivors")
        if survivors is None:
            return None
        participant = replace(participant, record=self._session_record(session))
        message, session_record = protocol.unmask(participant, roster, delivered, survivors)
        self._keep(participant, session_record)
        self._send("unmask", message)
        # A stateless client keeps no update. On S3 it may delete nothing, so it empties the object.
        self._own.write(self._folder + _DIFFERENCES, b"")
        return report

    def _announce(self) -> None:
        """Publishes the client's key, and tells the server about the training, unless that was done."""
        if self._has_announced:
            return
        key = layout.trained(self._plan.run, self._plan.round, self._client)
        publish_key(self._federation, self._client, self._identity)
        if not self._federation.exists(key):
            write_record(self._federation, key, self._trained())
        self._has_announced = True

    def _trained(self) -> TrainedRecord:
        return read_record(self._own, self._folder + _TRAINED, TrainedRecord)

    def _participant(self, session: Session) -> Participant:
        if not self._public_keys:
            self._public_keys = learn_keys(self._own, published_keys(self._federation, session.clients))
        record = self._session_record(session)
        return Participant(self._client, self._identity, session, self._public_keys, record)

    def _session_record(self, session: Session) -> SessionRecord:
        """Returns what the client has answered in this session; begins the session if it is new.

        A round that is tried again has another session, with other masks.
        """
        try:
            stored = SessionRecord.from_bytes(self._own.read(self._folder + _SESSION))
        except NotFoundError:
            stored = None
        if stored is None or stored.session != session.digest:
            stored = begin_session(session)
            self._own.write(self._folder + _SESSION, stored.to_bytes())
        return stored

    def _keep(self, participant: Participant, record: SessionRecord) -> Participant:
        """Stores what the client has drawn or answered, before anything of it is sent."""
        if record != participant.record:
            self._own.write(self._folder + _SESSION, record.to_bytes())
        return replace(participant, record=record)

    def _deliver_masked(self, participant: Participant, roster: bytes, delivered: bytes) -> ReportRecord:
        """Masks the update and delivers it with its report, unless that was done."""
        report = self._report or self._find_report(participant.record)
        if report is None:
            message, session_record = protocol.mask(
                participant, roster, delivered, self._vector(participant.session)
            )
            self._keep(participant, session_record)
            self._federation.write(layout.update(self._plan.run, self._plan.round, self._client), message)
            values = self._trained().model_dump(exclude={"maxima"})
            report = ReportRecord(**values, update_digest=bytes_digest(message), update_bytes=len(message))
            write_record(self._federation, self._report_key, report)
        self._report = report
        return report

    def _find_report(self, record: SessionRecord) -> ReportRecord | None:
        """Returns the report of the vector that was masked in this session, if it was delivered."""
        if not (record.masked and self._federation.exists(self._report_key)):
            return None
        report = read_record(self._federation, self._report_key, ReportRecord)
        return report if report.update_digest == record.masked else None

    @property
    def _report_key(self) -> str:
        return layout.report(self._plan.run, self._plan.round, self._client)

    def _vector(self, session: Session) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
        agreement_data = self._read_list("agreement") or b""
        check_bytes(agreement_data, session.agreement, "the server's agreement")
        agreement = AgreementRecord.from_bytes(agreement_data, "the server's agreement")
        started_from = self._plan.sent_digest or self._plan.base_digest
        if agreement.base_digest != started_from:
            raise self._refusal(
                f"the clients have started from weights {agreement.base_digest}, this one from {started_from}"
            )
        changes = load(self._own.read(self._folder + _DIFFERENCES), "the client's update")
        vectors = integer_vectors(self._config, self._plan, specs_of(changes))
        if session.length != vectors.length:
            raise self._refusal(
                f"the session has vectors of {session.length} elements, the model gives {vectors.length}"
            )
        return vectors.encode(
            changes,
            agreement.weights[self._client],
            agreement.scales,
            rounding_seed(self._config, self._plan, self._client),
        )

    def _check_norm(self, changes: Tensors) -> None:
        bound = self._config.privacy.norm_bound
        norm = norm_of(changes.values())
        if bound and norm > bound:
            raise TrainingError(
                f"the update's norm is {norm:.4g}, and privacy.norm_bound is {bound:.4g}; look at the "
                "client's clips, lower training.learning_rate, or raise the bound"
            )

    def _check_not_ended(self) -> None:
        ended = layout.secure_list(self._plan.run, self._plan.round, "ended")
        if self._federation.exists(ended):
            raise self._refusal(read_record(self._federation, ended, EndedRecord).reason)

    def _begin_session(self, data: bytes) -> None:
        """Forgets what belongs to another session: a round that is tried again has a new one."""
        if self._lists.get("session") != data:
            self._lists = {"session": data}
            self._public_keys, self._report = {}, None

    def _read_list(self, name: str) -> bytes | None:
        """Returns what the server has published, or None if it has not."""
        if name not in self._lists:
            data = self._look(name)
            if data is None:
                return None
            self._lists[name] = data
        return self._lists[name]

    def _look(self, name: str) -> bytes | None:
        try:
            return self._federation.read(layout.secure_list(self._plan.run, self._plan.round, name))
        except NotFoundError:
            return None

    def _send(self, phase: str, message: bytes) -> None:
        if self._sent.get(phase) == message:
            return
        key = layout.secure_message(self._plan.run, self._plan.round, self._client, phase)
        if not self._federation.exists(key) or self._federation.read(key) != message:
            self._federation.write(key, message)
        self._sent[phase] = message

    def _refusal(self, reason: str) -> SecureAggregationError:
        return SecureAggregationError(self._plan.round, reason)
