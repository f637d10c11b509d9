"""Each strategy's part in local training, compared with closed forms."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedvsr.errors import ConfigError
from fedvsr.strategies.fedprox import FedProx, FedProxOptions
from fedvsr.strategies.fedsr import FedSR, FedSROptions
from fedvsr.strategies.registry import build_strategy, strategy_names
from fedvsr.strategies.scaffold import Scaffold
from fedvsr.training.memory import activation_checkpointing


class Point(nn.Module):
    """A model that is only a parameter, with a part that is not trained."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(values, dtype=torch.float64))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("counter", torch.tensor(0))


def video(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class Network(nn.Module):
    """Two convolutions over the frames of a video."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.shallow = nn.Conv2d(3, 5, 3, padding=1)
            self.deep = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.deep(torch.relu(self.shallow(x.flatten(0, 1))))
        return frames.reshape(x.shape)


@pytest.mark.parametrize("mu", [0.0, 1e-3, 2.0])
def test_fedproxs_penalty_is_half_mu_times_the_squared_distance(mu):
    model = Point(1.0, 2.0, 3.0)
    term = FedProx(FedProxOptions(mu=mu)).make_local_term(model, {}, {})
    assert float(term.penalty(video()).detach()) == 0.0
    with torch.no_grad():
        model.x += torch.tensor([3.0, 0.0, -4.0])
        model.frozen += 100
    penalty = term.penalty(video())
    assert float(penalty.detach()) == pytest.approx(mu / 2 * 25)
    penalty.backward()
    assert model.x.grad.tolist() == pytest.approx([mu * 3.0, 0.0, mu * -4.0])
    assert model.frozen.grad is None


def descend(model: Point, term, targets: list[torch.Tensor], rate: float) -> None:
    """Plain gradient descent on ½·‖x − target‖², one target per step."""
    for target in targets:
        model.x.grad = None
        (0.5 * (model.x - target).square().sum()).backward()
        term.correct_gradients()
        with torch.no_grad():
            model.x -= rate * model.x.grad


def test_scaffolds_variate_is_the_papers_option_two_for_plain_gradient_descent():
    start, rate = np.array([1.0, -2.0]), 0.1
    server, client = np.array([0.5, 0.25]), np.array([-1.0, 2.0])
    targets = [torch.tensor(target, dtype=torch.float64) for target in ([0.0, 1.0], [3.0, 3.0], [-1.0, 5.0])]
    model = Point(*start)
    term = Scaffold().make_local_term(model, {"x": server}, {"x": client})
    descend(model, term, targets, rate)
    end = model.x.detach().numpy()

    # y moves by the corrected gradients …
    expected = start.copy()
    for target in targets:
        expected -= rate * (expected - target.numpy() + server - client)
    np.testing.assert_allclose(end, expected, rtol=1e-12)
    # … and c_i⁺ = c_i − c + (x − y)/(K·η).
    variate = client - server + (start - end) / (len(targets) * rate)
    result = term.finish()
    np.testing.assert_allclose(result.client_state["x"], variate, rtol=1e-6)
    np.testing.assert_allclose(result.strategy_tensors["x"], variate - client, rtol=1e-6)
    assert set(result.client_state) == set(result.strategy_tensors) == {"x"}


def test_scaffold_without_history_does_not_touch_the_gradients():
    plain, corrected = Point(1.0, 2.0), Point(1.0, 2.0)
    targets = [torch.tensor([5.0, -1.0], dtype=torch.float64)] * 3
    descend(plain, build_strategy("fedavg").make_local_term(plain, {}, {}), targets, 0.1)
    descend(corrected, Scaffold().make_local_term(corrected, {}, {}), targets, 0.1)
    assert torch.equal(plain.x, corrected.x)


def test_scaffold_keeps_clients_at_the_common_optimum():
    # Two clients pull towards 0 and 10. With c_i = own gradient and c = the mean gradient at x = 5,
    # each client's corrected descent stays where the mean of both is smallest.
    for target in (0.0, 10.0):
        model = Point(5.0)
        term = Scaffold().make_local_term(model, {"x": np.array([0.0])}, {"x": np.array([5.0 - target])})
        descend(model, term, [torch.tensor([target], dtype=torch.float64)] * 10, 0.1)
        assert float(model.x.detach()) == pytest.approx(5.0)


def fedsr_term(model: Network, client_state: dict[str, np.ndarray], layer: str = ""):
    options = FedSROptions(weight=0.1, temperature=0.07, layer=layer)
    return FedSR(options).make_local_term(model, {}, client_state)


def test_fedsr_has_no_contrastive_term_in_a_clients_first_round():
    model = Network()
    term = fedsr_term(model, {})
    model(video())
    assert term.penalty(video()) is None
    client_state = term.finish().client_state
    assert {name: array.shape for name, array in client_state.items()} == {
        "weight": (5, 3, 3, 3),
        "bias": (5,),
    }
    again = fedsr_term(model, client_state)
    model(video())
    assert again.penalty(video()) is not None


def test_fedsrs_contrastive_term_is_info_nce_of_the_projected_features():
    model, previous = Network(1), Network(2)
    term = fedsr_term(
        model, {name: value.numpy() for name, value in previous.shallow.state_dict().items()}, layer="shallow"
    )
    start = {name: value.clone() for name, value in model.shallow.state_dict().items()}
    with torch.no_grad():
        model.shallow.weight += 0.3
    x = video(3)
    model(x)
    penalty = float(term.penalty(x).detach())

    frames = x.flatten(0, 1)
    layers = [
        (model.shallow.weight, model.shallow.bias),
        (start["weight"], start["bias"]),
        (previous.shallow.weight, previous.shallow.bias),
    ]
    first, _, second = term.projection
    anchor, positive, negative = (
        (second.weight @ torch.relu(first.weight @ pooled.T + first.bias[:, None]) + second.bias[:, None])
        .T.detach()
        .double()
        .numpy()
        for pooled in (functional.conv2d(frames, *layer, padding=1).mean((2, 3)) for layer in layers)
    )

    def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    near, far = np.exp(cosine(anchor, positive) / 0.07), np.exp(cosine(anchor, negative) / 0.07)
    assert penalty == pytest.approx(0.1 * float(np.mean(-np.log(near / (near + far)))), rel=1e-4)


def test_fedsrs_gradient_reaches_its_layer_but_no_copy_of_it():
    model = Network(1)
    client_state = {name: value.numpy() for name, value in Network(2).shallow.state_dict().items()}
    term = fedsr_term(model, client_state)
    model(video())
    term.penalty(video()).backward()
    assert float(model.shallow.weight.grad.abs().max()) > 0
    assert model.deep.weight.grad is None
    assert all(parameter.grad is None for parameter in term.base_layer.parameters())


def test_fedsrs_contrastive_term_is_smaller_with_the_base_weights_than_with_the_previous_ones():
    client_state = {name: value.numpy() for name, value in Network(2).shallow.state_dict().items()}
    at_global = Network(1)
    term = fedsr_term(at_global, client_state)
    at_global(video())
    near = float(term.penalty(video()).detach())
    at_previous = Network(1)
    term = fedsr_term(at_previous, client_state)
    at_previous.shallow.load_state_dict(Network(2).shallow.state_dict())
    at_previous(video())
    assert near < float(term.penalty(video()).detach())


def test_fedsr_draws_the_same_projection_everywhere_and_does_not_change_the_generator():
    client_state = {name: value.numpy() for name, value in Network(2).shallow.state_dict().items()}
    projections = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model = Network(1)
        term = fedsr_term(model, client_state)
        model(video())
        term.penalty(video())
        assert torch.equal(torch.get_rng_state(), before)
        projections.append(term.projection[0].weight)
    assert torch.equal(*projections)


@pytest.mark.parametrize("name", ["fedsr", "moon"])
def test_a_contrastive_term_is_the_same_with_activation_checkpointing(name):
    def penalties(*, checkpointing: bool) -> list[float]:
        model = nn.Sequential()
        model.body = Network(1)
        strategy = build_strategy(name)
        other = nn.Sequential()
        other.body = Network(2)
        client_state = strategy.make_local_term(other, {}, {}).finish().client_state
        term = strategy.make_local_term(model, {}, client_state)
        values = []
        with activation_checkpointing(model, enabled=checkpointing):
            for seed in range(3):
                model.zero_grad()
                loss = model(video(seed)).square().mean()
                penalty = term.penalty(video(seed))
                # The backward pass calls the layer again.
                (loss + penalty).backward()
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= 0.1 * parameter.grad
                values.append(float(penalty.detach()))
        return values

    assert penalties(checkpointing=True) == penalties(checkpointing=False)


def test_fedsr_removes_its_hook():
    model = Network()
    fedsr_term(model, {}).finish()
    assert not model.shallow._forward_hooks


def test_fedsr_refuses_a_layer_that_the_model_lacks():
    with pytest.raises(ConfigError, match=r"^strategy\.options\.layer: 'stem' .* layers: shallow, deep$"):
        fedsr_term(Network(), {}, layer="stem")


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_trains_a_model_without_history(name):
    model = Network()
    term = build_strategy(name).make_local_term(model, {}, {})
    loss = model(video()).square().mean()
    penalty = term.penalty(video())
    (loss if penalty is None else loss + penalty).backward()
    term.correct_gradients()
    result = term.finish()
    assert bool(result.client_state) == build_strategy(name).stateful
