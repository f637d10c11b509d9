"""FedSR: contrast of shallow features, and averaging by similarity.

Yang and Ke, "FedSR: Federated learning for image Super-Resolution via detail-assisted contrastive learning",
Knowledge-Based Systems 309, 2025, https://doi.org/10.1016/j.knosys.2024.112778.

At the client, a contrastive loss (InfoNCE over a fixed random projection) pulls the shallow features of the
model in training towards those with the base weights, and pushes them away from those with the client's
previous weights. At the server, each tensor is averaged with separate aggregation weights: the softmax over
the clients of the cosine similarity between a client's tensor and the base tensor. The first round has no
previous weights to compare with and is plain FedAvg.
"""

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean_by_tensor
from fedvsr.strategies.base import Aggregate, LocalResult, LocalTerm, RoundUpdates
from fedvsr.strategies.contrast import (
    CallRecorder,
    check_layer,
    feature_layers,
    info_nce,
    load_arrays,
    module_arrays,
)
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_HIDDEN_CHANNELS, _PROJECTED_CHANNELS = 512, 256
_PROJECTION_SEED = 0


class ContrastiveTerm(LocalTerm):
    """Contrasts one layer's output with that of the same layer with other weights.

    The output is pulled towards that with the base weights, and pushed away from that with the client's
    previous weights. Only this layer is copied, not the model: both copies get the inputs of its calls.

    Args:
        model: The model, with the base weights loaded.
        client_state: The layer's weights after the client's previous round; empty if there was none.
        layer_name: The layer; empty for the first convolution or linear layer.
        loss_weight: Weight of the term in the loss.
        temperature: Temperature of the term.

    Raises:
        fedvsr.errors.ConfigError: The model has no such layer.
    """

    def __init__(
        self,
        model: "nn.Module",
        client_state: Mapping[str, Array],
        layer_name: str,
        loss_weight: float,
        temperature: float,
    ) -> None:
        super().__init__(model, {}, client_state)
        layers = feature_layers(model)
        self.layer = model.get_submodule(check_layer(layer_name, layers) if layer_name else layers[0])
        self.loss_weight = loss_weight
        self.temperature = temperature
        self.base_layer = copy.deepcopy(self.layer).requires_grad_(False)
        self.previous_layer = copy.deepcopy(self.base_layer)
        self.has_previous = bool(client_state)
        if self.has_previous:
            load_arrays(self.previous_layer, client_state)
        self.projection: nn.Module | None = None
        self.calls: CallRecorder[tuple[Tensor, Tensor]] | None = None
        if self.has_previous:
            self.calls = CallRecorder(model, self.layer, lambda given, output: (given.detach(), output))

    def penalty(self, low_resolution: "Tensor") -> "Tensor | None":
        """Uses the layer's calls in this forward pass; the batch itself is not needed."""
        import torch

        recorded = self.calls.take() if self.calls else []
        if not recorded:
            return None
        losses = []
        for layer_input, output in recorded:
            with torch.no_grad():
                positive = self._project(self.base_layer(layer_input))
                negative = self._project(self.previous_layer(layer_input))
            losses.append(info_nce(self._project(output), positive, negative, self.temperature))
        return self.loss_weight * torch.stack(losses).mean()

    def finish(self) -> LocalResult:
        if self.calls:
            self.calls.remove()
        return LocalResult(client_state=module_arrays(self.layer))

    def _project(self, features: "Tensor") -> "Tensor":
        """Averages features (N, C, …) over space, and projects them to (N, 256)."""
        pooled = features.float().flatten(2).mean(2)
        if self.projection is None:
            # The number of channels is known only now.
            self.projection = _make_projection(pooled.shape[1], pooled.device)
        projected: Tensor = self.projection(pooled)
        return projected


def _make_projection(channels: int, device: "torch.device") -> "nn.Module":
    import torch
    from torch import nn

    # A fixed seed gives all clients the same projection, so it is never sent.
    with torch.random.fork_rng():
        torch.manual_seed(_PROJECTION_SEED)
        projection = nn.Sequential(
            nn.Linear(channels, _HIDDEN_CHANNELS),
            nn.ReLU(),
            nn.Linear(_HIDDEN_CHANNELS, _PROJECTED_CHANNELS),
        )
    return projection.requires_grad_(False).to(device)


class FedSROptions(Section):
    """The options of FedSR."""

    weight: float = Field(0.1, ge=0, description="weight of the contrastive term")
    temperature: float = Field(0.07, gt=0, description="temperature of the contrastive term")
    layer: str = Field(
        "",
        description="convolution or linear layer whose output is the shallow features; empty: the first one",
    )


class FedSR(FedAvg):
    """Trains with `ContrastiveTerm`, and averages each tensor with `similarity_weights`."""

    name = "fedsr"
    description = "contrast of shallow features, averaging by similarity"
    source = (
        "Yang and Ke, FedSR: Federated learning for image Super-Resolution via detail-assisted contrastive "
        "learning, Knowledge-Based Systems 309, 2025, https://doi.org/10.1016/j.knosys.2024.112778"
    )
    Options = FedSROptions
    stateful = True
    needs_updates = "its shares depend on how alike the clients' weights are"

    options: FedSROptions

    def make_local_term(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        options = self.options
        return ContrastiveTerm(model, client_state, options.layer, options.weight, options.temperature)

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        if updates.context.round_number <= 1:
            return super().aggregate(updates)
        weights = similarity_weights(updates.base, updates.updates)
        return Aggregate(
            weighted_mean_by_tensor(updates.base, updates.updates, lambda client, name: weights[name][client])
        )


def similarity_weights(base: Mapping[str, Array], updates: Updates) -> dict[str, dict[str, float]]:
    """Returns the aggregation weight of each client for each tensor.

    It is the softmax, over the clients, of the cosine similarity between the client's tensor and the base
    tensor.

    Args:
        base: The base weights.
        updates: The clients' weights.

    Returns:
        The aggregation weights by tensor and client; those of a tensor sum to 1.
    """
    similarities: dict[str, dict[str, float]] = {name: {} for name in base}
    for client in updates.clients:
        for name, array in updates.tensors(client):
            similarities[name][client] = _cosine(base[name], array)
    return {name: _softmax(by_client) for name, by_client in similarities.items()}


def _softmax(values: Mapping[str, float]) -> dict[str, float]:
    exponentials = {key: math.exp(value) for key, value in values.items()}
    total = math.fsum(exponentials.values())
    return {key: exponential / total for key, exponential in exponentials.items()}


def _cosine(first: Array, second: Array) -> float:
    a = first.reshape(-1).astype(np.float64)
    b = second.reshape(-1).astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0
