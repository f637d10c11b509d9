"""The server optimiser of a run, and its step at the end of a round."""

from dataclasses import dataclass, field

import numpy as np

from fedvsr.config.run import RunConfig
from fedvsr.config.server import NO_OPTIMISER
from fedvsr.errors import ConfigError, DataError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.records import RunRecord
from fedvsr.federation.runs import digests_after_round
from fedvsr.federation.stored_weights import load_weights
from fedvsr.server_optimisers.base import ServerOptimiser, find_state_problem, optimise
from fedvsr.server_optimisers.registry import build_server_optimiser
from fedvsr.store.base import Store
from fedvsr.strategies.base import Strategy
from fedvsr.strategies.updates import first_non_finite
from fedvsr.weights import Tensors


@dataclass(frozen=True)
class ServerStep:
    """The result of a server optimiser's step.

    Attributes:
        weights: The new global weights.
        state: What it keeps at the server for the next round.
    """

    weights: Tensors
    state: Tensors = field(default_factory=dict)


def find_server_optimiser(config: RunConfig, strategy: Strategy) -> ServerOptimiser | None:
    """Returns the server optimiser that the run chooses or the strategy has; None if there is none.

    Raises:
        fedvsr.errors.InputError: Its name is unknown, an option is not allowed, or the strategy has a server
            optimiser of its own.
    """
    server = config.server
    if strategy.server_optimiser is None:
        if server.optimiser == NO_OPTIMISER:
            return None
        return build_server_optimiser(server.optimiser, server.options)
    if server.optimiser != NO_OPTIMISER:
        raise ConfigError(
            "server.optimiser",
            server.optimiser,
            f"the strategy {strategy.name} has a server optimiser of its own: leave this out, or choose "
            "another strategy, such as fedavg",
        )
    return strategy.server_optimiser(strategy.options)


def take_server_step(
    store: Store,
    run: RunRecord,
    round_number: int,
    optimiser: ServerOptimiser | None,
    base: Tensors,
    aggregate: Tensors,
    participation: float = 1.0,
) -> ServerStep:
    """Steps from a round's base weights; without a server optimiser, the aggregate is the result.

    Args:
        store: The federation's store, with the state after the previous round.
        run: The run's record.
        round_number: The round.
        optimiser: The server optimiser, or None.
        base: The base weights.
        aggregate: The strategy's aggregate.
        participation: The share of the round's planned clients that are in it, in (0, 1].

    Raises:
        fedvsr.errors.NotFoundError: The state after the previous round does not exist.
        fedvsr.errors.DataError: It is damaged, or is not this optimiser's.
        fedvsr.errors.WeightsError: The new weights or the new state have a value that is not finite.
    """
    if optimiser is None:
        return ServerStep(aggregate)
    optimiser = optimiser.for_round(participation)
    state = _load_state(store, run, round_number - 1, optimiser, base)
    # Values that overflow become infinite and are refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        weights, following = optimise(optimiser, base, aggregate, state)
    problem = first_non_finite(weights) or first_non_finite(following)
    if problem:
        raise WeightsError(
            f"server optimiser {optimiser.name!r} returned weights that cannot be used: {problem}; lower its "
            "learning rate"
        )
    return ServerStep(weights, following)


def _load_state(
    store: Store, run: RunRecord, round_number: int, optimiser: ServerOptimiser, base: Tensors
) -> Tensors:
    """Returns the state after a round; empty for the initial weights."""
    digest = digests_after_round(store, run, round_number).server_state
    if digest is None:
        return {}
    key = layout.server_state(run.config.name, round_number)
    state = load_weights(store, key, digest)
    problem = find_state_problem(optimiser, state, base)
    if problem:
        raise DataError(
            f"{store.uri}/{key} is no state of the server optimiser {optimiser.name!r}: {problem}"
        )
    return state
