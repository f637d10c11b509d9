"""FedNova, compared with the paper's formulas in float64, and its number of steps with Adam's own sums."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedvsr.errors import ConfigError
from fedvsr.strategies.base import Contribution, RoundContext, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.fednova import FedNova


def papers_step(base, vectors, clips, steps) -> np.ndarray:
    """The oracle: x − τ_eff·Σ p_i·d_i with d_i = (x − x_i)/τ_i and τ_eff = Σ p_i·τ_i."""
    p = np.array(clips) / sum(clips)
    tau = np.array(steps, np.float64)
    directions = (base - vectors) / tau[:, np.newaxis]
    return base - (p @ tau) * (p @ directions)


@pytest.fixture(scope="module")
def run(make_updates_of_module):
    """Aggregates vectors (n, d) in float64, with the clients in some order."""

    def aggregate(strategy, base, vectors, clips, steps, max_share=math.inf, order=None):
        clients = order or [str(index) for index in range(len(vectors))]
        updates = make_updates_of_module({client: {"w": vectors[int(client)]} for client in clients})
        contributions = tuple(
            Contribution(name, 1.0, clips[int(name)], steps[int(name)]) for name in sorted(clients)
        )
        context = RoundContext(1, 2, len(vectors), max_share)
        none = make_updates_of_module({})
        return strategy.aggregate(RoundUpdates({"w": base}, updates, none, contributions, context, {}))

    return aggregate


@given(
    clients=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 200)), min_size=1, max_size=7),
    data=st.data(),
)
@settings(max_examples=40)
def test_the_step_is_the_papers_whatever_the_order_of_arrival(run, clients, data):
    clips, steps = zip(*clients, strict=True)
    random = np.random.default_rng(len(clients))
    base, vectors = random.normal(size=30), random.normal(size=(len(clients), 30))
    result = run(FedNova(), base, vectors, clips, steps)
    np.testing.assert_allclose(
        result.tensors["w"], papers_step(base, vectors, clips, steps), rtol=1e-9, atol=1e-9
    )
    order = data.draw(st.permutations([str(index) for index in range(len(clients))]))
    again = run(FedNova(), base, vectors, clips, steps, order=order)
    assert again.tensors["w"].tobytes() == result.tensors["w"].tobytes()
    assert sum(result.weights.values()) == pytest.approx(1)
    assert result.diagnostics["server_step"] >= 1 - 1e-12
    assert result.diagnostics["effective_steps"] == pytest.approx(np.average(steps, weights=clips))


def test_with_equal_steps_it_is_fedavg(run):
    random = np.random.default_rng(0)
    base, vectors = random.normal(size=30), random.normal(size=(4, 30))
    nova = run(FedNova(), base, vectors, [1, 2, 3, 4], [30] * 4)
    average = run(FedAvg(), base, vectors, [1, 2, 3, 4], [30] * 4)
    np.testing.assert_allclose(nova.tensors["w"], average.tensors["w"], rtol=1e-12)
    assert nova.diagnostics["server_step"] == pytest.approx(1)


@pytest.mark.parametrize("lie", [1, 10**6, 2**53])
def test_a_lie_about_the_steps_neither_takes_the_round_over_nor_blows_it_up(run, lie):
    random = np.random.default_rng(1)
    base = random.normal(size=30)
    vectors = base + 0.1 * random.normal(size=(5, 30))
    result = run(FedNova(), base, vectors, [4] * 5, [lie, 30, 30, 30, 30], max_share=5.0)
    assert result.weights["0"] <= 5 / 9 + 1e-12
    assert result.diagnostics["bounded_claims"] == 1
    # (a + b)²/(4ab) for steps between a = 30/5 and b = 5·30 (Kantorovich's inequality).
    assert result.diagnostics["server_step"] <= (1 / 5 + 5) ** 2 / 4
    # Without the bounds, many steps that were never made multiply the others' updates.
    free = run(FedNova(), base, vectors, [4] * 5, [lie, 30, 30, 30, 30])
    if lie > 1:
        assert free.diagnostics["server_step"] > 1000


def test_honest_steps_within_the_bound_change_nothing(run):
    random = np.random.default_rng(2)
    base, vectors = random.normal(size=30), random.normal(size=(3, 30))
    arguments = FedNova(), base, vectors, [2, 3, 1], [20, 30, 10]
    assert run(*arguments, max_share=5.0).tensors["w"].tobytes() == run(*arguments).tensors["w"].tobytes()


@pytest.mark.parametrize(("rate", "beta1"), [(0.1, 0.0), (0.1, 0.9), (0.01, 0.99)])
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_each_step_of_adam_with_a_constant_second_moment_adds_one(rate, beta1, steps):
    # With β2 = 1 and v = 1, the change is −η·Σ a_j·g_j. With all g_j = 1 its size is η·‖a‖₁.
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=rate, betas=(beta1, 0.99), eps=0)
    for _ in range(steps):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert -float(parameter.detach()) / rate == pytest.approx(steps, rel=1e-12)


def test_fednova_reaches_the_joint_optimum_where_fedavg_prefers_the_busy_client(run):
    # Gradient descent on ½·(x − t_i)² with 1 and 50 steps; the joint optimum is the mean of t, 0.
    targets, steps, rate = np.array([-1.0, 1.0]), [1, 50], 1e-3
    ends = {}
    for strategy in (FedAvg(), FedNova()):
        x = np.zeros(1)
        for _ in range(600):
            vectors = np.stack(
                [t + (x - t) * (1 - rate) ** count for t, count in zip(targets, steps, strict=True)]
            )
            x = run(strategy, x, vectors, [1, 1], steps).tensors["w"]
        ends[strategy.name] = float(x[0])
    assert ends["fedavg"] > 0.9
    assert abs(ends["fednova"]) < 0.05


def test_a_model_with_running_statistics_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    with pytest.raises(ConfigError, match=r"^strategy\.name: 'fednova' .* module '1' has running statistics"):
        FedNova().make_local_term(model, {}, {})
