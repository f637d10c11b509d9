"""Opens the sum of a round's masked updates, and makes new global weights of it."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvsr.errors import SecureAggregationError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, ReportRecord, RunRecord, read_untrusted_record
from fedvsr.federation.server.secure_lists import SecureLists
from fedvsr.privacy.secure_aggregation.server import MaskedSum, open_sum
from fedvsr.store.base import Store
from fedvsr.strategies.base import Aggregate
from fedvsr.weights import Array, Tensors


@dataclass(frozen=True)
class SecureResult:
    """The result of a round with secure aggregation.

    Attributes:
        aggregate: The new global weights and the survivors' shares.
        reports: The survivors' reports, in the order of their names.
        refused: The reason for each client with a message that was refused.
    """

    aggregate: Aggregate
    reports: tuple[ReportRecord, ...]
    refused: dict[str, str]


def aggregate_masked(store: Store, record: RunRecord, plan: PlanRecord, base: Tensors) -> SecureResult:
    """Adds up the survivors' masked updates, opens the sum and adds it to the global weights.

    The shares were fixed before clients dropped out, so the sum is divided by the survivors' shares. Integer
    and boolean buffers keep the values of the global weights.

    Args:
        store: The federation's store.
        record: The run's record.
        plan: The round's plan.
        base: The global weights that the round starts from.

    Raises:
        fedvsr.errors.SecureAggregationError: The clients have not come to the end, too few of them opened
            their shares, or a message is refused. Nothing is opened.
    """
    lists = SecureLists(store, record, plan)
    session = lists.session()
    survivors = lists.survivors(session) if session else None
    if session is None or survivors is None:
        raise SecureAggregationError(plan.round, "there is no sum to open; continue the run to try again")
    keys = lists.keys(session)
    table = lists.table(session, keys)
    answers = lists.answers(table, keys, survivors)
    masked_sum = MaskedSum(table, keys)
    for client in survivors.clients:
        with tempfile.TemporaryDirectory(prefix="fedvsr-masked-") as folder:
            lists.add_masked(masked_sum, session, client, Path(folder))
    total = open_sum(table, masked_sum, survivors, answers)
    agreement = lists.agreement()
    kept = math.fsum(agreement.weights[client] for client in survivors.clients)
    tensors: dict[str, Array] = dict(base)
    for name, changes in lists.vectors.decode(total, len(survivors.clients), agreement.scales):
        changed = base[name].astype(np.float64) + changes.astype(np.float64) / kept
        tensors[name] = changed.astype(base[name].dtype)
    aggregate = Aggregate(
        tensors,
        {client: agreement.weights[client] / kept for client in survivors.clients},
        {**agreement.diagnostics, "masked": 1.0, "bits_per_value": float(session.bits)},
        weights_before_bound={
            client: share
            for client, share in agreement.weights_before_bound.items()
            if client in survivors.clients
        },
    )
    reports = tuple(
        read_untrusted_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
        for client in survivors.clients
    )
    return SecureResult(aggregate, reports, lists.refused)
