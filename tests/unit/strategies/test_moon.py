"""MOON's local term, compared with the paper's formula and with autograd in float64."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedvsr.errors import ConfigError
from fedvsr.models.registry import build_model
from fedvsr.strategies.contrast import feature_layers
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.moon import Moon
from fedvsr.strategies.registry import build_strategy


class Network(nn.Module):
    """Two convolutions over the frames of a video, in float64."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 5, 3, padding=1, dtype=torch.float64)
            self.last = nn.Conv2d(5, 3, 3, padding=1, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.last(torch.tanh(self.first(x.flatten(0, 1))))
        return frames.reshape(x.shape)


def video(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state_of(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def moon(mu: float = 1.0, temperature: float = 0.5, layer: str = "") -> Moon:
    return Moon(Moon.Options(mu=mu, temperature=temperature, layer=layer))


def papers_term(weight, bias, features, x, mu: float, temperature: float) -> torch.Tensor:
    """The oracle for the first convolution; ``features`` are z_glob and z_prev, by frame."""
    z = functional.conv2d(x.flatten(0, 1), weight, bias, padding=1).mean((2, 3))

    def similarity(other):
        return (z * other).sum(1) / (z.norm(dim=1) * other.norm(dim=1))

    near, far = (torch.exp(similarity(other) / temperature) for other in features)
    return mu * -torch.log(near / (near + far)).mean()


@pytest.mark.parametrize(("mu", "temperature"), [(1.0, 0.5), (5.0, 0.07), (0.0, 1.0)])
def test_the_term_and_its_gradient_are_those_of_the_paper(mu, temperature):
    base, previous, model, x = Network(1), Network(2), Network(1), video(3)
    term = moon(mu, temperature).make_local_term(model, {}, state_of(previous))
    with torch.no_grad():
        model.first.weight += 0.2 * torch.sin(torch.arange(model.first.weight.numel())).view_as(
            model.first.weight
        )
    model(x)
    penalty = term.penalty(x)
    penalty.backward()

    features = [
        functional.conv2d(x.flatten(0, 1), layer.weight, layer.bias, padding=1).mean((2, 3)).detach()
        for layer in (base.first, previous.first)
    ]
    weight = model.first.weight.detach().clone().requires_grad_()
    bias = model.first.bias.detach().clone().requires_grad_()
    expected = papers_term(weight, bias, features, x, mu, temperature)
    expected.backward()
    assert float(penalty.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    np.testing.assert_allclose(model.first.weight.grad, weight.grad, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(model.first.bias.grad, bias.grad, rtol=1e-9, atol=1e-15)
    # Later layers have no part in it, and the copies are not trained.
    assert model.last.weight.grad is None
    for copied in (term.base, term.previous):
        assert all(parameter.grad is None for parameter in copied._model.parameters())


def test_a_small_step_against_the_gradient_brings_the_features_towards_the_global_models():
    model, x = Network(1), video(3)
    term = moon(temperature=0.5).make_local_term(model, {}, state_of(Network(2)))
    with torch.no_grad():
        for parameter, other in zip(model.parameters(), Network(2).parameters(), strict=True):
            parameter.copy_(0.5 * parameter + 0.5 * other)
    values = []
    for _ in range(20):
        model.zero_grad()
        model(x)
        penalty = term.penalty(x)
        penalty.backward()
        values.append(float(penalty.detach()))
        with torch.no_grad():
            model.first.weight -= 0.1 * model.first.weight.grad
    assert all(later < earlier for earlier, later in itertools.pairwise(values))


def test_there_is_no_term_in_a_clients_first_round_but_its_weights_are_kept():
    model = Network(1)
    term = moon().make_local_term(model, {}, {})
    model(video())
    assert term.penalty(video()) is None
    state = term.finish().client_state
    assert state.keys() == model.state_dict().keys()
    again = moon().make_local_term(model, {}, state)
    model(video())
    # The same weights three times: ℓ = −log(1/2).
    assert float(again.penalty(video()).detach()) == pytest.approx(np.log(2))


def test_its_hooks_are_removed_from_the_model():
    model = Network(1)
    moon().make_local_term(model, {}, state_of(Network(2))).finish()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(("name", "layer"), [("fastvsr", "blocks.2.second"), ("basicvsr", "conv_hr")])
def test_the_default_layer_of_a_network_is_the_one_before_its_output(name, layer):
    model = build_model(name, 4, {})
    assert feature_layers(model)[-2:][0] == layer


class Linear(nn.Module):
    """Linear layers on the channels of each pixel: the channels are the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(3, 7), nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(self.wide(x.movedim(2, -1))).movedim(-1, 2)


def test_the_features_of_a_linear_layer_are_its_last_dimension():
    model = Linear()
    term = moon().make_local_term(model, {}, state_of(Linear()))
    x = torch.rand(2, 3, 3, 8, 8)
    model(x)
    (features,) = term.features.take()
    np.testing.assert_allclose(
        features.detach(), model.wide(x.movedim(2, -1)).mean((1, 2, 3)).detach(), rtol=1e-5, atol=1e-6
    )


def test_a_layer_that_the_model_lacks_is_refused():
    with pytest.raises(ConfigError, match=r"^strategy\.options\.layer: 'stem' .* layers: first, last$"):
        moon(layer="stem").make_local_term(Network(1), {}, {})


def test_the_server_is_that_of_fedavg():
    assert type(build_strategy("moon")).aggregate is FedAvg.aggregate
    assert build_strategy("moon").needs_updates == ""
