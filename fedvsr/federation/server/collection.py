"""Collecting a round's deliveries: what is refused, what counts, and whether it is enough."""

from dataclasses import dataclass
from pathlib import Path

from fedvsr.errors import DataError, NotFoundError, QuorumError, UpdateError
from fedvsr.federation import layout
from fedvsr.federation.delivery import delivered_files
from fedvsr.federation.records import (
    ClientOutcome,
    Outcome,
    OutcomesRecord,
    PlanRecord,
    ReportRecord,
    read_client_record,
    read_record,
)
from fedvsr.store.base import Store
from fedvsr.strategies.base import Strategy
from fedvsr.strategies.updates import UpdateFile
from fedvsr.text import printable
from fedvsr.weights import TensorSpec, find_misfit

# Reason for a client with no recorded outcome.
_NOTHING = "it delivered nothing"


@dataclass(frozen=True)
class Delivery:
    """A client's delivery whose report, sizes and headers are good.

    Attributes:
        report: The client's report.
        update: Its weights.
        strategy_tensors: Its strategy tensors, None if it sent none.
    """

    report: ReportRecord
    update: UpdateFile
    strategy_tensors: UpdateFile | None

    def verify(self) -> None:
        """Reads what has not been read yet; raises `fedvsr.errors.UpdateError` as reading does."""
        self.update.verify()
        if self.strategy_tensors:
            self.strategy_tensors.verify()


class Collection:
    """A round's deliveries, and the outcome of each client.

    Attributes:
        deliveries: The good deliveries, by client and in the order of the clients' names.
        outcomes: The outcome of each client of the plan.
        training_seconds: Wall time of the training step.
    """

    def __init__(self, store: Store, plan: PlanRecord) -> None:
        self._store, self._plan = store, plan
        self.deliveries: dict[str, Delivery] = {}
        self.outcomes, self.training_seconds = _recorded_outcomes(store, plan)

    def open_deliveries(self, base_specs: dict[str, TensorSpec], strategy: Strategy, folder: Path) -> None:
        """Opens what the clients delivered and refuses what is unfit."""
        for client in sorted(self._plan.clients):
            try:
                delivery = open_delivery(self._store, self._plan, client, base_specs, strategy, folder)
            except NotFoundError:
                # The outcome that the training step recorded says why.
                continue
            except UpdateError as error:
                self._refuse(error)
            else:
                self.deliveries[client] = delivery
                self.outcomes[client] = _delivered(self.outcomes[client])

    def refuse_damaged(self, error: UpdateError) -> None:
        """Refuses the update of an error, and every other that turns out to be damaged."""
        self._refuse(error)
        for delivery in list(self.deliveries.values()):
            try:
                delivery.verify()
            except UpdateError as another:
                self._refuse(another)

    def check_quorum(self) -> None:
        """Raises `fedvsr.errors.QuorumError` if fewer clients delivered than the quorum."""
        if len(self.deliveries) < self._plan.quorum:
            self._ask_refused_again()
            raise QuorumError(
                f"round {self._plan.round} of {self._plan.run!r}: {len(self.deliveries)} of "
                f"{len(self._plan.clients)} clients delivered, the quorum is {self._plan.quorum}; "
                f"mend the clients and continue the run:\n{self._table()}"
            )

    def _refuse(self, error: UpdateError) -> None:
        self.deliveries.pop(error.client, None)
        refused = {"outcome": Outcome.REFUSED, "reason": error.reason}
        self.outcomes[error.client] = self.outcomes[error.client].model_copy(update=refused)

    def _ask_refused_again(self) -> None:
        """Deletes the reports of refused clients, so that a continued run has them train again."""
        for outcome in self.outcomes.values():
            if outcome.outcome is Outcome.REFUSED:
                self._store.delete(layout.report(self._plan.run, self._plan.round, outcome.client))

    def _table(self) -> str:
        return "\n".join(
            f"  {outcome.client}: {outcome.outcome}{f' ({outcome.reason})' if outcome.reason else ''}"
            for outcome in self.outcomes.values()
        )


def open_delivery(
    store: Store,
    plan: PlanRecord,
    client: str,
    base_specs: dict[str, TensorSpec],
    strategy: Strategy,
    folder: Path,
) -> Delivery:
    """Opens a client's delivery and checks all but the values of its tensors.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
        base_specs: Shape and dtype of each tensor of the base weights.
        strategy: The run's strategy, which knows its strategy tensors.
        folder: Takes files that must be downloaded.

    Raises:
        fedvsr.errors.NotFoundError: The client has delivered nothing.
        fedvsr.errors.UpdateError: The delivery is refused: it is for another run, round, client or base;
            a file is missing, too large or cut short; a tensor is missing, unknown, or of another shape
            or dtype.
    """
    try:
        report = read_client_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
    except DataError as error:
        raise _refusal(plan, client, str(error)) from None
    problem = _check_report(report, plan, client)
    if problem:
        raise _refusal(plan, client, problem)
    try:
        update, strategy_tensors = _open_files(store, plan, client, report, folder)
    except (DataError, NotFoundError) as error:
        raise _refusal(plan, client, str(error)) from None
    problem = find_misfit(update.specs, base_specs) or strategy.find_strategy_tensor_problem(
        strategy_tensors.specs if strategy_tensors else {}, base_specs
    )
    if problem:
        raise _refusal(plan, client, problem)
    return Delivery(report, update, strategy_tensors)


def _check_report(report: ReportRecord, plan: PlanRecord, client: str) -> str | None:
    """Returns in what a report is not for this client, round and base, or None."""
    for field, expected in (
        ("run", plan.run),
        ("round", plan.round),
        ("client", client),
        ("base_digest", plan.base_digest),
    ):
        actual = getattr(report, field)
        if actual != expected:
            return f"its report names {field} {actual}, this round's is {expected}"
    return None


def _open_files(
    store: Store, plan: PlanRecord, client: str, report: ReportRecord, folder: Path
) -> tuple[UpdateFile, UpdateFile | None]:
    names = ("its update", "its strategy tensors")
    update, *others = (
        UpdateFile(client, plan.round, store.fetch(file.key, folder), file.digest, name)
        for file, name in zip(delivered_files(store, plan, client, report), names, strict=False)
    )
    return update, others[0] if others else None


def _recorded_outcomes(store: Store, plan: PlanRecord) -> tuple[dict[str, ClientOutcome], float]:
    """Returns the outcomes and the seconds that the training step recorded.

    A client without a recorded outcome has delivered nothing.
    """
    outcomes = {
        client: ClientOutcome(client=client, outcome=Outcome.FAILED, reason=_NOTHING)
        for client in plan.clients
    }
    try:
        record = read_record(store, layout.outcomes(plan.run, plan.round), OutcomesRecord)
    except NotFoundError:
        return outcomes, 0.0
    return outcomes | {outcome.client: outcome for outcome in record.outcomes}, record.seconds


def _delivered(recorded: ClientOutcome) -> ClientOutcome:
    """Returns the outcome of a client with a good delivery, whatever the training step recorded."""
    reason = recorded.reason
    if recorded.outcome is not Outcome.OK:
        late = f"its update was there, though it was {recorded.outcome}: {reason}"
        reason = late if reason != _NOTHING else ""
    return recorded.model_copy(update={"outcome": Outcome.OK, "reason": reason})


def _refusal(plan: PlanRecord, client: str, reason: str) -> UpdateError:
    # Values of the report and names of tensors are the client's own words.
    return UpdateError(client, plan.round, printable(reason))
