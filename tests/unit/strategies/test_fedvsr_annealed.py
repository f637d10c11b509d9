"""fedvsr-annealed: what it adds to fedvsr, and what it does not let a run set too."""

import numpy as np
import pytest

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.run.prepare import check_settings
from fedvsr.server_optimisers.momentum import Momentum, MomentumOptions
from fedvsr.strategies.base import Contribution, RoundContext
from fedvsr.strategies.registry import build_strategy
from fedvsr.strategies.settings import averaging_of, schedule_of
from fedvsr.training.schedule import factor_at

NAME = "fedvsr-annealed"


def config(**sections):
    return RunConfig.parse({"name": "a", "strategy": {"name": NAME}, **sections})


def test_the_learning_rate_holds_and_then_falls_to_the_final_factor():
    schedule = schedule_of(config(), build_strategy(NAME, {"hold_share": 0.5, "final_factor": 0.2}))
    assert [factor_at(schedule, progress) for progress in (0, 0.25, 0.5)] == [1, 1, 1]
    assert factor_at(schedule, 0.75) == pytest.approx(0.6)
    assert factor_at(schedule, 1 - 1e-12) == pytest.approx(0.2)


def test_the_weights_are_averaged_with_its_own_decay():
    averaging = averaging_of(config(), build_strategy(NAME, {"averaging_decay": 0.5}))
    # Shares 1, ½, ¼ of three rounds: the newest has 4/7.
    assert averaging.newest_share(3) == pytest.approx(4 / 7)


def test_the_clients_are_weighed_as_by_fedvsr():
    context = RoundContext(1, 10, 3)
    clients = [Contribution(name, loss, 1, 1) for name, loss in (("a", 0.1), ("b", 0.2), ("c", 0.9))]
    assert build_strategy(NAME).weigh(clients, context) == build_strategy("fedvsr").weigh(clients, context)


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"training": {"schedule": {"name": "cosine"}}}, "training.schedule"),
        ({"server": {"averaging": "exponential"}}, "server.averaging"),
        ({"server": {"optimiser": "adam"}}, "server.optimiser"),
    ],
)
def test_a_run_may_not_set_what_the_strategy_brings_along(sections, field):
    with pytest.raises(ConfigError, match=rf"^{field}.*the strategy fedvsr-annealed has .* of its own"):
        check_settings(config(**sections))
    check_settings(config())


@pytest.mark.parametrize(("participation", "beta"), [(1.0, 0.5), (0.5, 0.25)])
def test_momentum_is_smaller_in_a_round_in_which_fewer_clients_deliver(participation, beta):
    momentum = Momentum(MomentumOptions(beta=0.5, by_participation=True)).for_round(participation)
    moments = {"momentum": np.array([2.0])}
    assert momentum.step(np.array([1.0]), moments) == pytest.approx(1 + 2 * beta)


def test_momentum_is_the_same_in_every_round_without_the_option():
    momentum = Momentum(MomentumOptions(beta=0.5))
    assert momentum.for_round(0.25) is momentum
