"""The server's part in a round: from the updates that lie there to new global weights."""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvsr.errors import DataError, NotFoundError, QuorumError, UpdateError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.delivery import fetch_sent
from fedvsr.federation.records import (
    ClientOutcome,
    Outcome,
    OutcomesRecord,
    Participant,
    PlanRecord,
    ReportRecord,
    RoundRecord,
    read_client_record,
    read_record,
    write_record,
)
from fedvsr.federation.runs import load_run
from fedvsr.federation.stored_weights import open_weights
from fedvsr.store.base import Store, bytes_digest
from fedvsr.strategies.base import Contribution, RoundContext, RoundUpdates, Strategy
from fedvsr.strategies.registry import build_strategy
from fedvsr.strategies.updates import Updates
from fedvsr.text import printable
from fedvsr.weights import Array, TensorSpec, WeightsFile, check_fit, serialize, specs_of

# Said of a client that the training step recorded nothing of.
_NOTHING = "it delivered nothing"


@dataclass(frozen=True)
class _Delivery:
    """A client's update that was looked through and found good."""

    report: ReportRecord
    update: Path
    extra: Path | None


def aggregate_round(store: Store, run: str, round_number: int) -> RoundRecord:
    """Aggregates a round's updates and writes the new global weights and the round's record.

    Every update is validated before anything is aggregated; one that is refused counts as not
    delivered and its reason is in the record. The result is a function of the updates, not of the
    order in which they came. Where the round has ended already, its record is returned.

    Args:
        store: The federation's store.
        run: The run's name.
        round_number: The round, whose plan exists.

    Raises:
        fedvsr.errors.QuorumError: Fewer clients delivered than the quorum.
    """
    try:
        return read_record(store, layout.round_record(run, round_number), RoundRecord)
    except NotFoundError:
        pass
    start = time.perf_counter()
    plan = read_record(store, layout.plan(run, round_number), PlanRecord)
    config = load_run(store, run).config
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    base = open_weights(store, layout.global_weights(run, round_number - 1), plan.base_digest)
    outcomes, training_seconds = _outcomes(store, plan)
    deliveries: dict[str, _Delivery] = {}
    for client in sorted(plan.clients):
        try:
            deliveries[client] = check_update(store, plan, client, base.specs, strategy)
            outcomes[client] = _delivered(outcomes[client])
        except NotFoundError:
            # What the training step saw says why there is nothing.
            continue
        except UpdateError as error:
            outcomes[client] = outcomes[client].model_copy(
                update={"outcome": Outcome.REFUSED, "reason": error.reason}
            )
    _check_quorum(store, plan, outcomes, len(deliveries))

    contributions = tuple(
        Contribution(client, each.report.loss, each.report.clips, each.report.steps)
        for client, each in deliveries.items()
    )
    state = {}
    if plan.strategy_digest:
        state = open_weights(store, layout.strategy_state(run, round_number - 1), plan.strategy_digest).load()
    # What overflows becomes infinite here and is refused below.
    with np.errstate(over="ignore"):
        aggregate = strategy.aggregate(
            RoundUpdates(
                base=base.load(),
                updates=Updates({client: each.update for client, each in deliveries.items()}),
                extras=Updates({client: each.extra for client, each in deliveries.items() if each.extra}),
                contributions=contributions,
                context=RoundContext(round_number, plan.rounds, len(config.federation.clients)),
                state=state,
            )
        )
    problem = check_fit(specs_of(aggregate.tensors), base.specs) or _first_not_finite_of(
        itertools.chain(aggregate.tensors.items(), aggregate.state.items())
    )
    if problem:
        raise WeightsError(f"strategy {strategy.name!r} returned weights that cannot be used: {problem}")
    weights = serialize(aggregate.tensors)
    store.write(layout.global_weights(run, round_number), weights)
    carried = serialize(aggregate.state) if aggregate.state else b""
    if carried:
        store.write(layout.strategy_state(run, round_number), carried)
    reports = [each.report for each in deliveries.values()]
    record = RoundRecord(
        run=run,
        round=round_number,
        strategy=strategy.name,
        base_digest=plan.base_digest,
        global_digest=bytes_digest(weights),
        strategy_digest=bytes_digest(carried) if carried else None,
        participants=tuple(
            Participant(
                client=report.client,
                loss=report.loss,
                clips=report.clips,
                steps=report.steps,
                samples=report.samples,
                seconds=report.seconds,
                weight=aggregate.weights.get(report.client),
                dataset_digest=report.dataset_digest,
            )
            for report in reports
        ),
        outcomes=tuple(outcomes[client] for client in plan.clients),
        diagnostics=aggregate.diagnostics,
        bytes_up=sum(report.update_bytes + report.extra_bytes for report in reports),
        bytes_down=sum(report.downloaded_bytes for report in reports),
        seconds={"train": training_seconds, "aggregate": time.perf_counter() - start},
    )
    write_record(store, layout.round_record(run, round_number), record)
    return record


def check_update(
    store: Store, plan: PlanRecord, client: str, expected: dict[str, TensorSpec], strategy: Strategy
) -> _Delivery:
    """Looks a client's update through, tensor by tensor.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client.
        expected: Shape and dtype of each tensor of the global weights.
        strategy: The run's strategy, which knows what else its clients send.

    Raises:
        fedvsr.errors.NotFoundError: It has delivered nothing.
        fedvsr.errors.UpdateError: What it delivered is refused: for another run, round, client or
            base; too large, truncated or changed; a tensor missing, unknown, of another shape or
            dtype, or not finite.
    """

    def refuse(reason: str) -> UpdateError:
        # Names of tensors and values of the report are the client's own words.
        return UpdateError(client, plan.round, printable(reason))

    try:
        report = read_client_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
    except DataError as error:
        raise refuse(str(error)) from None
    for field, want in (
        ("run", plan.run),
        ("round", plan.round),
        ("client", client),
        ("base_digest", plan.base_digest),
    ):
        found = getattr(report, field)
        if found != want:
            raise refuse(f"its report names {field} {found}, this round's is {want}")
    try:
        update, extra = fetch_sent(store, plan, client, report)
    except (DataError, NotFoundError) as error:
        raise refuse(str(error)) from None
    try:
        file = WeightsFile(update, "its update")
        sent = WeightsFile(extra, "its strategy tensors") if extra else None
        problem = (
            check_fit(file.specs, expected)
            or strategy.check_sent(sent.specs if sent else {}, expected)
            or _first_not_finite(file)
            or (_first_not_finite(sent) if sent else None)
        )
    except WeightsError as error:
        raise refuse(str(error)) from None
    if problem:
        raise refuse(problem)
    return _Delivery(report, update, extra)


def _first_not_finite(file: WeightsFile) -> str | None:
    return _first_not_finite_of(file.tensors())


def _first_not_finite_of(tensors: Iterable[tuple[str, Array]]) -> str | None:
    for name, array in tensors:
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            count = int(np.count_nonzero(~np.isfinite(array)))
            return f"tensor {name!r}: expected finite values, found {count} that are not"
    return None


def _outcomes(store: Store, plan: PlanRecord) -> tuple[dict[str, ClientOutcome], float]:
    """What the training step recorded; a client it does not mention has not started."""
    missing = {
        client: ClientOutcome(client=client, outcome=Outcome.FAILED, reason=_NOTHING)
        for client in plan.clients
    }
    try:
        record = read_record(store, layout.outcomes(plan.run, plan.round), OutcomesRecord)
    except NotFoundError:
        return missing, 0.0
    return missing | {each.client: each for each in record.outcomes}, record.seconds


def _delivered(seen: ClientOutcome) -> ClientOutcome:
    """The outcome of a client whose good update is there, whatever the training step saw of it."""
    reason = seen.reason
    if seen.outcome is not Outcome.OK:
        reason = f"its update was there, though it was {seen.outcome}: {reason}" if reason != _NOTHING else ""
    return seen.model_copy(update={"outcome": Outcome.OK, "reason": reason})


def _check_quorum(store: Store, plan: PlanRecord, outcomes: dict[str, ClientOutcome], delivered: int) -> None:
    if delivered >= plan.quorum:
        return
    for each in outcomes.values():
        if each.outcome is Outcome.REFUSED:
            # Without its report the client has not delivered, and is asked again when the run continues.
            store.delete(layout.report(plan.run, plan.round, each.client))
    rows = "\n".join(
        f"  {each.client}: {each.outcome}{f' ({each.reason})' if each.reason else ''}"
        for each in outcomes.values()
    )
    raise QuorumError(
        f"round {plan.round} of {plan.run!r}: {delivered} of {len(plan.clients)} clients delivered, "
        f"the quorum is {plan.quorum}; mend the clients and continue the run:\n{rows}"
    )
