"""The average of the global weights of several rounds. The training goes on from the global weights.

With weights w_i after round i, the average after round r is

- exponential: Σ d^(r−i)·w_i / Σ d^(r−i) over i = 1 … r
- uniform: the mean of w_i over the rounds after ``averaging_start``

Both follow from the average before and the newest weights alone: A ← A + s·(w − A), with the newest round's
share s. An average over one round is that round's weights, and is not stored.

Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control
and Optimization 30(4), 1992, https://doi.org/10.1137/0330046.
"""

import numpy as np

from fedvsr.config.server import ServerConfig
from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, RunRecord
from fedvsr.federation.runs import digests_after_round
from fedvsr.federation.stored_weights import load_weights
from fedvsr.store.base import Store
from fedvsr.weights import Array, Tensors


def average_rounds(
    store: Store,
    run: RunRecord,
    plan: PlanRecord,
    averaging: ServerConfig,
    base: Tensors,
    weights: Tensors,
) -> dict[str, Array]:
    """Returns the average after a round; empty if there is none, or if it is over one round.

    Args:
        store: The federation's store, with the average after the previous round.
        run: The run's record.
        plan: The round's plan.
        averaging: How weights are averaged.
        base: The global weights after the previous round.
        weights: The global weights after this round.

    Raises:
        fedvsr.errors.NotFoundError: The average after the previous round does not exist.
        fedvsr.errors.DataError: It is damaged.
    """
    count = averaging.averaged_rounds(plan.round, plan.rounds)
    if count <= 1:
        return {}
    before = base if count == 2 else _load_average(store, run, plan.round - 1)
    share = averaging.newest_share(count)
    return {name: _average(before[name], array, share) for name, array in weights.items()}


def _load_average(store: Store, run: RunRecord, round_number: int) -> Tensors:
    digest = digests_after_round(store, run, round_number).averaged
    key = layout.averaged_weights(run.config.name, round_number)
    if digest is None:
        raise NotFoundError(key, store.uri)
    return load_weights(store, key, digest)


def _average(before: Array, newest: Array, share: float) -> Array:
    """Averages a tensor; integer and boolean buffers are the newest ones."""
    if not np.issubdtype(newest.dtype, np.floating):
        return newest
    start = before.astype(np.float64)
    average: Array = (start + share * (newest.astype(np.float64) - start)).astype(newest.dtype)
    return average
