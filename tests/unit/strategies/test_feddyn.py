"""FedDyn: its local term against autograd, its server against the paper, and both on quadratics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedvsr.errors import ConfigError
from fedvsr.strategies.base import RoundContext, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.feddyn import FedDyn
from tests.unit.strategies.rounds import contributions, random_tensors


class Point(nn.Module):
    """A model that is only parameters, one of which is not trained."""

    def __init__(self, x, y=(0.0,)) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(x, dtype=torch.float64))
        self.y = nn.Parameter(torch.tensor(y, dtype=torch.float64))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("counter", torch.tensor(0))


def feddyn(alpha: float) -> FedDyn:
    return FedDyn(FedDyn.Options(alpha=alpha))


@given(alpha=st.floats(1e-3, 10), seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_the_gradient_is_autograds_of_the_papers_objective(alpha, seed):
    random = np.random.default_rng(seed)
    base, moved, target = random.normal(size=(3, 4))
    gradients = {"x": random.normal(size=4).astype(np.float32)}
    model = Point(base)
    term = feddyn(alpha).make_local_term(model, {}, gradients)
    with torch.no_grad():
        model.x.copy_(torch.tensor(moved))
    (model.x - torch.tensor(target)).square().sum().backward()
    term.correct_gradients()

    theta = torch.tensor(moved, requires_grad=True)
    g, start = torch.tensor(gradients["x"].astype(np.float64)), torch.tensor(base)
    objective = (
        (theta - torch.tensor(target)).square().sum() - g @ theta + alpha / 2 * (theta - start).square().sum()
    )
    objective.backward()
    np.testing.assert_allclose(model.x.grad.numpy(), theta.grad.numpy(), rtol=1e-12, atol=1e-12)
    # A parameter without a gradient in this step, and one that is not trained, get none.
    assert model.y.grad is None
    assert model.frozen.grad is None
    # g ← g − α·(θ − θ_base).
    state = term.finish().client_state
    assert set(state) == {"x", "y"}
    np.testing.assert_allclose(state["x"], gradients["x"] - alpha * (moved - base), rtol=1e-5, atol=1e-6)
    assert state["y"].tolist() == [0.0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_server_follows_the_papers_formulas(aggregate, count):
    alpha, clients = 0.3, 7
    base, before = random_tensors(0), {name: array * 0.1 for name, array in random_tensors(50).items()}
    state = {name: array.astype(np.float32) for name, array in before.items()}
    updates = {str(index): random_tensors(index + 1) for index in range(count)}
    result = aggregate(
        feddyn(alpha),
        base,
        updates,
        state=state,
        clips={str(index): 1 + index for index in range(count)},
        context=RoundContext(3, 10, clients),
    )
    for name, array in base.items():
        start = array.astype(np.float64)
        stack = np.stack([tensors[name].astype(np.float64) for tensors in updates.values()])
        h = state[name].astype(np.float64) - alpha / clients * (stack - start).sum(axis=0)
        expected = stack.mean(axis=0) - h / alpha
        np.testing.assert_allclose(
            result.tensors[name], expected.astype(array.dtype), rtol=3e-7, atol=1e-6, err_msg=name
        )
        np.testing.assert_allclose(result.strategy_state[name], h, rtol=1e-6, atol=1e-7, err_msg=name)
        assert result.strategy_state[name].dtype == np.float32
    assert result.weights == pytest.approx(dict.fromkeys(updates, 1 / count))


def test_counters_have_no_state_and_are_averaged(aggregate):
    base = {"w": np.zeros(2, np.float32), "counter": np.array(1)}
    updates = {"ann": {"w": np.ones(2, np.float32), "counter": np.array(2**62 + 3)}} | {
        "bob": {"w": np.ones(2, np.float32), "counter": np.array(2**62 + 3)}
    }
    result = aggregate(feddyn(0.1), base, updates)
    assert result.tensors["counter"] == 2**62 + 3
    assert set(result.strategy_state) == {"w"}


@given(order=st.permutations(["0", "1", "2", "3"]))
@settings(max_examples=10)
def test_the_order_of_arrival_does_not_change_a_byte(make_updates_of_module, order):
    results = []
    for clients in (["0", "1", "2", "3"], order):
        updates = make_updates_of_module({client: random_tensors(int(client)) for client in clients})
        round_updates = RoundUpdates(
            random_tensors(9),
            updates,
            make_updates_of_module({}),
            contributions(dict.fromkeys(clients, 1)),
            RoundContext(1, 2, 4),
            {},
        )
        results.append(feddyn(0.1).aggregate(round_updates))
    for name, array in results[0].tensors.items():
        assert array.tobytes() == results[1].tensors[name].tobytes()
        assert results[0].strategy_state[name].tobytes() == results[1].strategy_state[name].tobytes()


def federated(aggregate, strategy, rounds: int, per_round: int) -> float:
    """Minimises the sum of ½·a_k·(x − t_k)², with 200 steps of gradient descent a round and client."""
    curvatures, targets = [1.0, 4.0, 0.5, 2.0], [0.0, 3.0, -5.0, 1.0]
    x, state, client_states = np.zeros(1), {}, [{}, {}, {}, {}]
    for round_number in range(rounds):
        updates = {}
        for client in [(round_number + offset) % 4 for offset in range(per_round)]:
            model = Point(x)
            term = strategy.make_local_term(model, state, client_states[client])
            for _ in range(200):
                model.x.grad = curvatures[client] * (model.x.detach() - targets[client])
                term.correct_gradients()
                with torch.no_grad():
                    model.x -= 0.1 * model.x.grad
            updates[str(client)] = {"w": model.x.detach().numpy().copy()}
            client_states[client] = term.finish().client_state
        result = aggregate(
            strategy, {"w": x}, updates, state=state, context=RoundContext(1 + round_number, rounds, 4)
        )
        x, state = result.tensors["w"], result.strategy_state
    return float(x[0])


@pytest.mark.parametrize("per_round", [4, 2])
def test_feddyn_reaches_the_joint_optimum_and_fedavg_does_not(aggregate, per_round):
    # Σ a_k·t_k / Σ a_k = 11.5 / 7.5; FedAvg ends at the mean of the t_k, −0.25, if all take part.
    optimum = 11.5 / 7.5
    assert federated(aggregate, feddyn(1.0), 120, per_round) == pytest.approx(optimum, abs=1e-3)
    assert abs(federated(aggregate, FedAvg(), 20, per_round) - optimum) > 0.5


def test_a_model_with_running_statistics_is_refused():
    with pytest.raises(ConfigError, match=r"^strategy\.name: 'feddyn' .* module '0' has running statistics"):
        FedDyn().make_local_term(nn.Sequential(nn.BatchNorm2d(3)), {}, {})
