"""ε after rounds of the Gaussian mechanism, against independent computations."""

import math

import numpy as np
import pytest

from fedvsr.privacy.accounting import Accounting


def closed_form(noise_multiplier, rounds, delta):
    """ε of the composed Gaussian mechanism: RDP is T·α/(2z²); converted as Canonne et al. 2020 do."""
    orders = np.concatenate([np.arange(1.01, 64, 0.01), np.arange(64, 2048)])
    return min(
        rounds * order / (2 * noise_multiplier**2)
        + math.log1p(-1 / order)
        - math.log(delta * order) / (order - 1)
        for order in orders
    )


@pytest.mark.parametrize("noise_multiplier", [0.7, 1, 2, 8])
@pytest.mark.parametrize("rounds", [1, 10, 100])
def test_full_participation_is_the_closed_form(noise_multiplier, rounds):
    epsilon = Accounting(5, 5, noise_multiplier, 1e-5).epsilon(rounds)
    assert epsilon == pytest.approx(closed_form(noise_multiplier, rounds, 1e-5), rel=3e-3)


def wang_bound(ratio, noise_multiplier, order):
    """The bound of Wang et al. 2019, theorem 9, for subsampling without replacement, at an integer order."""

    def rdp(alpha):
        return alpha / (2 * noise_multiplier**2)

    total = ratio**2 * math.comb(order, 2) * min(4 * (math.exp(rdp(2)) - 1), 2 * math.exp(rdp(2)))
    for j in range(3, order + 1):
        total += ratio**j * math.comb(order, j) * 2 * math.exp((j - 1) * rdp(j))
    return math.log1p(total) / (order - 1)


def test_sampling_without_replacement_is_within_the_published_bound():
    accounting = Accounting(1000, 40, 4.0, 1e-5)
    bound = min(
        100 * wang_bound(0.04, 2.0, order) + math.log1p(-1 / order) - math.log(1e-5 * order) / (order - 1)
        for order in range(2, 60)
    )
    epsilon = accounting.epsilon(100)
    assert 0.5 * bound < epsilon <= bound * 1.001
    # Without sampling, the same rounds cost far more.
    assert epsilon < 0.5 * Accounting(40, 40, 2.0, 1e-5).epsilon(100)


def test_the_budget_is_the_last_round_whose_epsilon_fits():
    accounting = Accounting(5, 5, 2.0, 1e-5)
    for budget in (2.2, 5, 8, 1000):
        rounds = accounting.rounds_within(budget, 60)
        assert accounting.epsilon(rounds) <= budget
        assert rounds == 60 or accounting.epsilon(rounds + 1) > budget
    assert accounting.rounds_within(0.1, 60) == 0
    assert accounting.epsilon(0) == 0
