"""q-FedAvg, compared with the paper's Algorithm 2 in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.strategies.base import Contribution, RoundContext, RoundUpdates
from fedvsr.strategies.qfedavg import QFedAvg
from tests.unit.strategies.rounds import random_tensors


def algorithm_2(base, updates, losses, q, lipschitz) -> np.ndarray:
    """The oracle: w − Σ Δ_k / Σ h_k, on vectors."""
    numerator, denominator = np.zeros_like(base), 0.0
    for vector, loss in zip(updates, losses, strict=True):
        gradient = lipschitz * (base - vector)
        numerator += loss**q * gradient
        denominator += q * loss ** (q - 1) * (gradient @ gradient) + lipschitz * loss**q
    return base - numerator / denominator


@pytest.fixture(scope="module")
def step(make_updates_of_module):
    """Aggregates vectors (n, d) in float64, with the clients in some order."""

    def run(base, vectors, losses, max_share=math.inf, order=None, **options):
        clients = order or [str(index) for index in range(len(vectors))]
        updates = make_updates_of_module({client: {"w": vectors[int(client)]} for client in clients})
        # The server has the contributions in the order of the names.
        contributions = [Contribution(name, losses[int(name)], 1 + int(name), 5) for name in sorted(clients)]
        context = RoundContext(1, 2, len(vectors), max_share)
        none = make_updates_of_module({})
        return QFedAvg(QFedAvg.Options(**options)).aggregate(
            RoundUpdates({"w": base}, updates, none, tuple(contributions), context, {})
        )

    return run


@pytest.mark.parametrize("q", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("lipschitz", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_the_step_is_that_of_the_papers_algorithm(step, q, lipschitz, count):
    random = np.random.default_rng(count)
    base, vectors = random.normal(size=40), random.normal(size=(count, 40))
    losses = random.uniform(0.01, 0.05, count)
    result = step(base, vectors, losses, q=q, lipschitz=lipschitz)
    expected = algorithm_2(base, vectors, losses, q, lipschitz)
    np.testing.assert_allclose(result.tensors["w"], expected, rtol=1e-5, atol=1e-7)
    assert sum(result.weights.values()) == pytest.approx(1)
    assert 0 < result.diagnostics["server_step"] <= 1


def test_q_0_is_the_plain_mean_of_all_clients(step):
    random = np.random.default_rng(0)
    base, vectors = random.normal(size=9), random.normal(size=(4, 9))
    result = step(base, vectors, [0.01, 5.0, 0.3, 0.02], q=0.0)
    np.testing.assert_allclose(result.tensors["w"], vectors.mean(axis=0), rtol=1e-12)
    assert result.diagnostics == {"server_step": 1, "bounded_claims": 0}


@given(losses=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), q=st.floats(0.01, 5))
def test_a_larger_loss_never_counts_less(losses, q):
    contributions = [Contribution(str(index), loss, 1, 1) for index, loss in enumerate(losses)]
    weights, _ = QFedAvg(QFedAvg.Options(q=q)).weigh(contributions, RoundContext(1, 2, len(losses)))
    for first, left in enumerate(losses):
        for second, right in enumerate(losses):
            if left <= right:
                assert weights[str(first)] <= weights[str(second)]


@given(order=st.permutations(["0", "1", "2", "3"]))
@settings(max_examples=10)
def test_the_order_of_arrival_does_not_change_a_byte(step, order):
    random = np.random.default_rng(1)
    arguments = random.normal(size=9), random.normal(size=(4, 9)), [0.03, 0.01, 0.02, 0.05]
    assert step(*arguments).tensors["w"].tobytes() == step(*arguments, order=order).tensors["w"].tobytes()


@pytest.mark.parametrize("loss", [0.0, 1e-12, 1e12])
@pytest.mark.parametrize("q", [0.1, 1.0, 3.0])
def test_a_lie_about_the_loss_neither_stops_the_training_nor_takes_it_over(step, loss, q):
    random = np.random.default_rng(2)
    base = random.normal(size=30)
    vectors = base + 0.1 * random.normal(size=(5, 30))
    honest = step(base, vectors, [0.03] * 5, max_share=5.0, q=q)
    lied = step(base, vectors, [loss, *[0.03] * 4], max_share=5.0, q=q)
    assert (honest.diagnostics["bounded_claims"], lied.diagnostics["bounded_claims"]) == (0, 1)
    assert lied.weights["0"] <= 5 / (4 + 5) + 1e-12
    assert lied.diagnostics["server_step"] > honest.diagnostics["server_step"] / 5
    if loss == 0:
        free = step(base, vectors, [loss, *[0.03] * 4], q=q, lipschitz=1e-3)
        assert np.isfinite(free.tensors["w"]).all()


def test_powers_of_extreme_losses_neither_overflow_nor_vanish(step):
    result = step(np.zeros(2), np.ones((2, 2)), [1e12, 1e-9], q=50.0)
    assert result.weights == pytest.approx({"0": 1.0, "1": 0.0})
    assert np.isfinite(result.tensors["w"]).all()


def test_counters_and_half_precision_are_kept(aggregate):
    base = random_tensors(0) | {"counter": np.array(3)}
    updates = {str(index): random_tensors(index + 1) | {"counter": np.array(5)} for index in range(3)}
    result = aggregate(QFedAvg(), base, updates)
    assert result.tensors["counter"] == 5
    assert {name: array.dtype for name, array in result.tensors.items()} == {
        name: array.dtype for name, array in base.items()
    }
