"""Aggregation: computes new global weights from the updates of a round."""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedvsr.codecs.registry import EXACT
from fedvsr.config.run import CommunicationConfig, RunConfig
from fedvsr.errors import NotFoundError, QuorumError, SecureAggregationError, UpdateError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.communication import RoundWeights
from fedvsr.federation.privacy_budget import accounting
from fedvsr.federation.records import (
    Clipping,
    Participant,
    PlanRecord,
    ReportRecord,
    RoundPrivacy,
    RoundRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.federation.runs import RoundDigests
from fedvsr.federation.server.averaging import average_rounds
from fedvsr.federation.server.contributions import contributions, round_context
from fedvsr.federation.server.data_changes import find_data_changes
from fedvsr.federation.server.optimiser import ServerStep, find_server_optimiser, take_server_step
from fedvsr.federation.server.private_aggregate import NEXT_CLIPPING_NORM, aggregate_privately
from fedvsr.federation.server.round_deliveries import Delivery, RoundDeliveries
from fedvsr.federation.server.secure_sum import aggregate_masked
from fedvsr.federation.stored_weights import load_strategy_state
from fedvsr.store.base import Store, bytes_digest
from fedvsr.strategies import norm_clipping
from fedvsr.strategies.base import Aggregate, RoundContext, RoundUpdates, Strategy
from fedvsr.strategies.norm_clipping import ClippedAggregate, aggregate_clipped
from fedvsr.strategies.registry import build_strategy
from fedvsr.strategies.settings import averaging_of
from fedvsr.strategies.updates import Updates, first_non_finite
from fedvsr.weights import Tensors, find_misfit, serialize, specs_of

Combination = Callable[[RoundUpdates], ClippedAggregate]


def aggregate_round(store: Store, run: RunRecord, round_number: int) -> RoundRecord:
    """Aggregates a round's updates and writes the new global weights and the round's record.

    An update that is damaged or not valid is refused: it counts as not delivered, and the record has the
    reason. The result does not depend on the order in which the updates arrived. If the round has already
    ended, its record is returned.

    Args:
        store: The federation's store.
        run: The run's record.
        round_number: The round. Its plan exists.

    Raises:
        fedvsr.errors.QuorumError: Fewer clients delivered than the quorum. The reports of refused clients
            are deleted, so that these clients train again when the run continues.
        fedvsr.errors.NotFoundError: The server optimiser's state or the average after the previous round does
            not exist.
        fedvsr.errors.DataError: The base weights, a state or the average are damaged.
        fedvsr.errors.WeightsError: The strategy or the server optimiser returned unusable weights.
    """
    name = run.config.name
    try:
        return read_record(store, layout.round_record(name, round_number), RoundRecord)
    except NotFoundError:
        pass
    start = time.perf_counter()
    plan = read_record(store, layout.plan(name, round_number), PlanRecord)
    strategy = build_strategy(run.config.strategy.name, run.config.strategy.options)
    optimiser = find_server_optimiser(run.config, strategy)
    weights = RoundWeights.load(store, run.config, plan)
    state = load_strategy_state(store, plan)
    if run.config.privacy.secure_aggregation:
        round_deliveries, result, reports = _open_masked(store, run, plan, weights.base)
    else:
        combine = _combination(run.config, plan, strategy)
        context = round_context(run.config, plan, strategy)
        with tempfile.TemporaryDirectory(prefix="fedvsr-updates-") as folder:
            round_deliveries = RoundDeliveries.open(store, weights, strategy, Path(folder))
            result = _aggregate(round_deliveries, combine, weights.base, state, context)
        reports = [delivery.report for delivery in round_deliveries.deliveries.values()]
    aggregate = result.aggregate
    _check_usable(strategy, aggregate, weights.base)
    # With differential privacy, nothing may depend on who delivered.
    participation = len(reports) / len(plan.clients) if plan.clipping_norm is None else 1.0
    step = take_server_step(
        store, run, round_number, optimiser, weights.base, aggregate.tensors, participation
    )
    averaging = averaging_of(run.config, strategy)
    averaged = average_rounds(store, run, plan, averaging, weights.base, step.weights)
    digests = _write_weights(store, plan, step, aggregate.strategy_state, averaged)
    participants = tuple(_participant(report, result) for report in reports)
    record = RoundRecord(
        run=name,
        round=round_number,
        strategy=strategy.name,
        base_digest=plan.base_digest,
        global_digest=digests.weights,
        strategy_digest=digests.strategy_state,
        participants=participants,
        outcomes=tuple(round_deliveries.outcomes[client] for client in plan.clients),
        diagnostics={
            **aggregate.diagnostics,
            **_compression(run.config.communication, reports, weights.base),
        },
        bytes_up=sum(report.update_bytes + report.extra_bytes for report in reports),
        bytes_down=sum(report.downloaded_bytes for report in reports),
        seconds={"train": round_deliveries.training_seconds, "aggregate": time.perf_counter() - start},
        privacy=_round_privacy(run.config, plan, aggregate),
        server_digest=digests.server_state,
        averaged_digest=digests.averaged,
        data_changes=find_data_changes(store, name, round_number, participants),
    )
    write_record(store, layout.round_record(name, round_number), record)
    return record


def _open_masked(
    store: Store, run: RunRecord, plan: PlanRecord, base: Tensors
) -> tuple[RoundDeliveries, ClippedAggregate, list[ReportRecord]]:
    """Opens the sum of a round with secure aggregation.

    Raises:
        fedvsr.errors.QuorumError: The sum cannot be opened, or fewer clients than the quorum are in it.
    """
    round_deliveries = RoundDeliveries(store, plan)
    try:
        result = aggregate_masked(store, run, plan, base)
    except SecureAggregationError as error:
        raise QuorumError(f"{error}\n{round_deliveries.table()}") from None
    for client, reason in result.refused.items():
        round_deliveries.refuse(UpdateError(client, plan.round, reason))
    for report in result.reports:
        round_deliveries.accept(report.client)
    if len(result.reports) < plan.quorum:
        raise QuorumError(
            f"round {plan.round} of {plan.run!r}: the sum is of {len(result.reports)} clients; the quorum is "
            f"{plan.quorum}; continue the run to try again:\n{round_deliveries.table()}"
        )
    return round_deliveries, ClippedAggregate(result.aggregate, {}, {}), list(result.reports)


def _check_usable(strategy: Strategy, aggregate: Aggregate, base: Tensors) -> None:
    problem = (
        find_misfit(specs_of(aggregate.tensors), specs_of(base))
        or first_non_finite(aggregate.tensors)
        or first_non_finite(aggregate.strategy_state)
    )
    if problem:
        raise WeightsError(f"strategy {strategy.name!r} returned weights that cannot be used: {problem}")


def _combination(config: RunConfig, plan: PlanRecord, strategy: Strategy) -> Combination:
    """Returns how updates become new global weights: by the strategy, or with differential privacy."""
    if plan.clipping_norm is None:
        max_norm = config.robustness.max_norm or math.inf
        return lambda updates: aggregate_clipped(strategy, updates, max_norm)
    privacy, norm, planned_clients = config.privacy, plan.clipping_norm, len(plan.clients)
    return lambda updates: ClippedAggregate(
        aggregate_privately(updates, privacy, norm, planned_clients), {}, {}
    )


def _round_privacy(config: RunConfig, plan: PlanRecord, aggregate: Aggregate) -> RoundPrivacy | None:
    if plan.clipping_norm is None:
        return None
    return RoundPrivacy(
        epsilon=accounting(config).epsilon(plan.round),
        delta=config.privacy.delta,
        noise_multiplier=config.privacy.noise_multiplier,
        clipping_norm=plan.clipping_norm,
        next_clipping_norm=aggregate.diagnostics[NEXT_CLIPPING_NORM],
    )


def _aggregate(
    round_deliveries: RoundDeliveries,
    combine: Combination,
    base: Tensors,
    state: Tensors,
    context: RoundContext,
) -> ClippedAggregate:
    """Aggregates the valid deliveries.

    The first read of an update verifies it. If an update proves to be damaged, the aggregation starts again
    without it.
    """
    while True:
        try:
            round_deliveries.check_quorum()
        except QuorumError:
            # The run can only continue if the refused clients train again.
            round_deliveries.delete_refused_reports()
            raise
        updates = _round_updates(round_deliveries.deliveries, base, state, context)
        try:
            # Values that overflow become infinite and are refused below.
            with np.errstate(over="ignore"):
                result = combine(updates)
            break
        except UpdateError as error:
            round_deliveries.refuse_damaged(error)
    return result


def _round_updates(
    deliveries: dict[str, Delivery], base: Tensors, state: Tensors, context: RoundContext
) -> RoundUpdates:
    return RoundUpdates(
        base=base,
        updates=Updates({client: delivery.update for client, delivery in deliveries.items()}),
        strategy_tensors=Updates(
            {
                client: delivery.strategy_tensors
                for client, delivery in deliveries.items()
                if delivery.strategy_tensors
            }
        ),
        contributions=contributions(delivery.report for delivery in deliveries.values()),
        context=context,
        strategy_state=state,
    )


def _compression(
    communication: CommunicationConfig, reports: list[ReportRecord], base: Tensors
) -> dict[str, float]:
    """Returns by how much the codecs make weights smaller; empty for a direction without one.

    Strategy tensors and the strategy state are not encoded, and do not count.
    """
    exact = sum(array.nbytes for array in base.values()) * len(reports)
    up = sum(report.update_bytes for report in reports)
    down = sum(report.downloaded_bytes for report in reports)
    factors = {}
    if communication.upload != EXACT:
        factors["compression_up"] = exact / up
    if communication.download != EXACT:
        factors["compression_down"] = exact / down
    return factors


def _write_weights(
    store: Store, plan: PlanRecord, step: ServerStep, strategy_state: Tensors, averaged: Tensors
) -> RoundDigests:
    """Writes the new global weights, and what else there is: states for the next round, an average."""
    run, number = plan.run, plan.round
    return RoundDigests(
        weights=_write(store, layout.global_weights(run, number), step.weights),
        strategy_state=_write_if_any(store, layout.strategy_state(run, number), strategy_state),
        server_state=_write_if_any(store, layout.server_state(run, number), step.state),
        averaged=_write_if_any(store, layout.averaged_weights(run, number), averaged),
    )


def _write_if_any(store: Store, key: str, tensors: Tensors) -> str | None:
    return _write(store, key, tensors) if tensors else None


def _write(store: Store, key: str, tensors: Tensors) -> str:
    data = serialize(tensors)
    store.write(key, data)
    return bytes_digest(data)


def _participant(report: ReportRecord, result: ClippedAggregate) -> Participant:
    aggregate = result.aggregate
    return Participant(
        client=report.client,
        loss=report.loss,
        clips=report.clips,
        steps=report.steps,
        samples=report.samples,
        seconds=report.seconds,
        waiting_seconds=report.waiting_seconds,
        weight=aggregate.weights.get(report.client),
        dataset_digest=report.dataset_digest,
        weight_before_bound=aggregate.weights_before_bound.get(report.client),
        update_clipping=_clipping(result.updates.get(report.client)),
        strategy_tensors_clipping=_clipping(result.strategy_tensors.get(report.client)),
    )


def _clipping(clipping: norm_clipping.Clipping | None) -> Clipping | None:
    if clipping is None:
        return None
    return Clipping(norm=clipping.norm, max_norm=clipping.max_norm)
