"""MOON: a model-contrastive term in local training.

Li, He and Song, "Model-Contrastive Federated Learning", CVPR 2021, https://arxiv.org/abs/2103.16257.

The term pulls the features z of the model in training towards those of the global model, and pushes them away
from those of the client's own model after its previous round:

    μ·ℓ,  ℓ = −log(e^(sim(z, z_glob)/τ) / (e^(sim(z, z_glob)/τ) + e^(sim(z, z_prev)/τ))),

with cosine similarities. In a client's first round there is no previous model and no term. The server
averages as FedAvg does.

The paper's networks classify and have a projection head, whose output is z. Networks for super-resolution
have none: z is the mean over all positions of one layer's output, by default of the last layer but one.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.base import LocalResult, LocalTerm
from fedvsr.strategies.contrast import (
    CallRecorder,
    check_layer,
    feature_layers,
    info_nce,
    load_arrays,
    module_arrays,
)
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


class ModelContrast(LocalTerm):
    """Contrasts a layer's features in the model with those in two frozen copies of the whole model.

    Args:
        model: The model, with the base weights loaded.
        client_state: All weights of the client's model after its previous round; empty if there was none.
        layer: The layer's name; empty for the last but one.
        mu: Weight of the term, μ.
        temperature: Temperature of the term, τ.

    Raises:
        fedvsr.errors.ConfigError: The model has no such layer.
    """

    def __init__(
        self, model: "nn.Module", client_state: Mapping[str, Array], layer: str, mu: float, temperature: float
    ) -> None:
        super().__init__(model, {}, client_state)
        self.mu = mu
        self.temperature = temperature
        layers = feature_layers(model)
        name = check_layer(layer, layers) if layer else layers[-2:][0]
        self.features: _Features | None = None
        if client_state:
            # Copied before hooks are added.
            self.base = _Features(_frozen_copy(model, {}), name)
            self.previous = _Features(_frozen_copy(model, client_state), name)
            self.features = _Features(model, name)

    def penalty(self, low_resolution: "Tensor") -> "Tensor | None":
        import torch

        if self.features is None:
            return None
        anchors = self.features.take()
        with torch.no_grad():
            positives, negatives = (copied.of(low_resolution) for copied in (self.base, self.previous))
        terms = [
            info_nce(anchor, positive, negative, self.temperature)
            for anchor, positive, negative in zip(anchors, positives, negatives, strict=True)
        ]
        return self.mu * torch.stack(terms).mean()

    def finish(self) -> LocalResult:
        if self.features is not None:
            self.features.remove()
        return LocalResult(client_state=module_arrays(self.model))


class _Features:
    """The features of one layer of a model, one tensor (N, channels) for each call of the layer."""

    def __init__(self, model: "nn.Module", name: str) -> None:
        from torch import nn

        self._model = model
        layer = model.get_submodule(name)
        channels_last = isinstance(layer, nn.Linear)
        self._calls = CallRecorder(model, layer, lambda given, output: _pooled(output, channels_last))

    def of(self, low_resolution: "Tensor") -> "list[Tensor]":
        """Returns the features of a batch."""
        self._model(low_resolution)
        return self.take()

    def take(self) -> "list[Tensor]":
        """Returns the features of the model's last forward pass."""
        return self._calls.take()

    def remove(self) -> None:
        """Removes the hooks."""
        self._calls.remove()


def _frozen_copy(model: "nn.Module", weights: Mapping[str, Array]) -> "nn.Module":
    """Copies a model for evaluation, with other weights if there are any."""
    copied = copy.deepcopy(model).requires_grad_(False).eval()
    if weights:
        load_arrays(copied, weights)
    return copied


def _pooled(output: "Tensor", channels_last: bool) -> "Tensor":
    """Averages a layer's output over all dimensions but the first and the channels, at least in float32."""
    import torch

    output = output.to(torch.promote_types(output.dtype, torch.float32))
    if channels_last:
        output = output.movedim(-1, 1)
    return output.flatten(2).mean(2) if output.dim() > 2 else output


class MoonOptions(Section):
    """The options of MOON."""

    mu: float = Field(1.0, ge=0, description="weight of the model-contrastive term (μ)")
    temperature: float = Field(0.5, gt=0, description="temperature of the term (τ)")
    layer: str = Field(
        "",
        description="convolution or linear layer whose output is the features; empty: the last but one",
    )


class Moon(FedAvg):
    """Trains with `ModelContrast`; clients keep their last weights in their own stores."""

    name = "moon"
    description = "fedavg with a model-contrastive term"
    source = (
        "Li, He and Song, Model-Contrastive Federated Learning, CVPR 2021, https://arxiv.org/abs/2103.16257"
    )
    Options = MoonOptions
    stateful = True

    options: MoonOptions

    def make_local_term(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        options = self.options
        return ModelContrast(model, client_state, options.layer, options.mu, options.temperature)
