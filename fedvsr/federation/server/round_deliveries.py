"""A round's deliveries: opens and checks them, records each client's outcome, and checks the quorum."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedvsr.errors import DataError, NotFoundError, QuorumError, UpdateError
from fedvsr.federation import layout
from fedvsr.federation.communication import RoundWeights
from fedvsr.federation.delivery import DeliveredFile, delivered_files
from fedvsr.federation.records import (
    ClientOutcome,
    Outcome,
    OutcomesRecord,
    PlanRecord,
    ReportRecord,
    read_record,
    read_untrusted_record,
)
from fedvsr.store.base import Store
from fedvsr.strategies.base import Strategy
from fedvsr.strategies.updates import UpdateFile
from fedvsr.text import printable
from fedvsr.weights import TensorSource, WeightsFile, find_misfit, specs_of

# Reason for a client with no recorded outcome.
_NO_DELIVERY = "it delivered nothing"


@dataclass(frozen=True)
class Delivery:
    """A client's delivery, whose report, file sizes and headers are valid.

    Attributes:
        report: The client's report.
        update: The client's weights.
        strategy_tensors: The client's strategy tensors; None if it sent none.
    """

    report: ReportRecord
    update: UpdateFile
    strategy_tensors: UpdateFile | None

    def verify(self) -> None:
        """Reads each file to its end, unless that was done, and checks its digest and its values.

        Raises:
            fedvsr.errors.UpdateError: A file is damaged, or a value is not finite.
        """
        self.update.verify()
        if self.strategy_tensors:
            self.strategy_tensors.verify()


class RoundDeliveries:
    """A round's valid deliveries, and the outcome of each client. Create it with `open`.

    Attributes:
        deliveries: The valid deliveries, by client and in the order of the clients' names.
        outcomes: The outcome of each client of the plan.
        training_seconds: Wall time of the training step.
    """

    def __init__(self, store: Store, plan: PlanRecord) -> None:
        self._store, self._plan = store, plan
        self.deliveries: dict[str, Delivery] = {}
        self.outcomes, self.training_seconds = _read_training_results(store, plan)

    @classmethod
    def open(cls, store: Store, weights: RoundWeights, strategy: Strategy, folder: Path) -> Self:
        """Opens the deliveries of a plan's clients, and refuses those that are not valid.

        The arguments are those of `open_delivery`.
        """
        plan = weights.plan
        round_deliveries = cls(store, plan)
        for client in sorted(plan.clients):
            try:
                delivery = open_delivery(store, weights, client, strategy, folder)
            except NotFoundError:
                # The outcome that the training step recorded says why.
                continue
            except UpdateError as error:
                round_deliveries.refuse(error)
            else:
                round_deliveries.accept(client, delivery)
        return round_deliveries

    def refuse_damaged(self, error: UpdateError) -> None:
        """Refuses the client that ``error`` names, then verifies the others and refuses the damaged ones."""
        self.refuse(error)
        for delivery in list(self.deliveries.values()):
            try:
                delivery.verify()
            except UpdateError as other_error:
                self.refuse(other_error)

    def check_quorum(self) -> None:
        """Checks that enough clients delivered.

        Raises:
            fedvsr.errors.QuorumError: Fewer clients delivered than the quorum.
        """
        if len(self.deliveries) < self._plan.quorum:
            raise QuorumError(
                f"round {self._plan.round} of {self._plan.run!r}: {len(self.deliveries)} of "
                f"{len(self._plan.clients)} clients delivered; the quorum is {self._plan.quorum}; "
                f"fix the clients and continue the run:\n{self.table()}"
            )

    def delete_refused_reports(self) -> None:
        """Deletes the reports of refused clients, so that these clients train again in a continued run."""
        for client, client_outcome in self.outcomes.items():
            if client_outcome.outcome is Outcome.REFUSED:
                self._store.delete(layout.report(self._plan.run, self._plan.round, client))

    def accept(self, client: str, delivery: Delivery | None = None) -> None:
        """Gives a client the outcome ``ok``; with secure aggregation it has no delivery to open."""
        if delivery is not None:
            self.deliveries[client] = delivery
        self.outcomes[client] = _as_delivered(self.outcomes[client])

    def refuse(self, error: UpdateError) -> None:
        """Gives the client that an error names the outcome ``refused``."""
        self.deliveries.pop(error.client, None)
        refused = {"outcome": Outcome.REFUSED, "reason": error.reason}
        self.outcomes[error.client] = self.outcomes[error.client].model_copy(update=refused)

    def table(self) -> str:
        """Returns the clients' outcomes as lines."""
        lines = []
        for client, client_outcome in self.outcomes.items():
            reason = f" ({client_outcome.reason})" if client_outcome.reason else ""
            lines.append(f"  {client}: {client_outcome.outcome}{reason}")
        return "\n".join(lines)


def open_delivery(
    store: Store, weights: RoundWeights, client: str, strategy: Strategy, folder: Path
) -> Delivery:
    """Opens a client's delivery and checks everything except the digests and the values of its tensors.

    Args:
        store: The federation's store.
        weights: What the round starts from.
        client: The client's name.
        strategy: The run's strategy, which checks the strategy tensors.
        folder: Where downloaded files are put.

    Raises:
        fedvsr.errors.NotFoundError: The client has delivered nothing.
        fedvsr.errors.UpdateError: The delivery is refused: the report belongs to another run, round, client
            or base weights; or a file is missing, too large or cut short; or a tensor is missing, unknown,
            or of another shape or dtype.
    """
    plan = weights.plan
    try:
        report = read_untrusted_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
    except DataError as error:
        raise _refusal(plan, client, str(error)) from None
    problem = _report_problem(report, plan, client)
    if problem:
        raise _refusal(plan, client, problem)
    try:
        update, strategy_tensors = _open_files(store, weights, client, report, folder)
    except (DataError, NotFoundError) as error:
        raise _refusal(plan, client, str(error)) from None
    base_specs = specs_of(weights.base)
    problem = find_misfit(update.specs, base_specs) or strategy.find_strategy_tensor_problem(
        strategy_tensors.specs if strategy_tensors else {}, base_specs
    )
    if problem:
        raise _refusal(plan, client, problem)
    return Delivery(report, update, strategy_tensors)


def _report_problem(report: ReportRecord, plan: PlanRecord, client: str) -> str | None:
    """Returns why a report does not belong to this run, round, client and base weights, or None."""
    for field, expected in (
        ("run", plan.run),
        ("round", plan.round),
        ("client", client),
        ("base_digest", plan.base_digest),
    ):
        actual = getattr(report, field)
        if actual != expected:
            return f"its report has {field} {actual}, expected {expected}"
    return None


def _open_files(
    store: Store, weights: RoundWeights, client: str, report: ReportRecord, folder: Path
) -> tuple[UpdateFile, UpdateFile | None]:
    def open_file(file: DeliveredFile, source: TensorSource) -> UpdateFile:
        return UpdateFile(client, weights.plan.round, source, file.digest)

    update, tensors = delivered_files(store, weights.plan, client, report)
    update_path = store.fetch(update.key, folder)
    return (
        open_file(update, weights.open_update(client, update_path, "its update", folder)),
        open_file(tensors, WeightsFile(store.fetch(tensors.key, folder), "its strategy tensors"))
        if tensors
        else None,
    )


def _read_training_results(store: Store, plan: PlanRecord) -> tuple[dict[str, ClientOutcome], float]:
    """Returns the outcomes and the wall time in seconds that the training step recorded.

    A client without a recorded outcome counts as failed until its delivery is opened.
    """
    outcomes = {
        client: ClientOutcome(client=client, outcome=Outcome.FAILED, reason=_NO_DELIVERY)
        for client in plan.clients
    }
    try:
        record = read_record(store, layout.outcomes(plan.run, plan.round), OutcomesRecord)
    except NotFoundError:
        return outcomes, 0.0
    recorded = {client_outcome.client: client_outcome for client_outcome in record.outcomes}
    return outcomes | recorded, record.seconds


def _as_delivered(recorded: ClientOutcome) -> ClientOutcome:
    """Returns the outcome ``ok`` for a client with a valid delivery, whatever the training step recorded."""
    if recorded.outcome is Outcome.OK:
        reason = recorded.reason
    elif recorded.reason == _NO_DELIVERY:
        # The training step recorded nothing, so there is nothing to report.
        reason = ""
    else:
        reason = f"it delivered, although the training step recorded {recorded.outcome}: {recorded.reason}"
    return recorded.model_copy(update={"outcome": Outcome.OK, "reason": reason})


def _refusal(plan: PlanRecord, client: str, reason: str) -> UpdateError:
    # The reason quotes text that the client wrote, so it is made printable before it reaches a log.
    return UpdateError(client, plan.round, printable(reason))
