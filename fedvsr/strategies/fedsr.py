"""FedSR: contrast of shallow features, and averaging by similarity.

Yang and Ke, "FedSR: Federated learning for image Super-Resolution via detail-assisted contrastive learning",
Knowledge-Based Systems 309, 2025, https://doi.org/10.1016/j.knosys.2024.112778.

At the client, the shallow features of the model in training are drawn towards those of the global
model and pushed away from those of the client's own model of its last round (InfoNCE over a fixed
random projection). At the server every tensor is averaged with weights of its own: the softmax of
the cosine similarities between the clients' tensors and the global one. The first round has no common
history yet and is FedAvg's.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.errors import ConfigError
from fedvsr.strategies.averaging import weighted_mean_by_tensor
from fedvsr.strategies.base import Aggregate, LocalResult, LocalTerm, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

_HIDDEN, _PROJECTED = 512, 256
_PROJECTION_SEED = 0


class ContrastiveTerm(LocalTerm):
    """Contrasts the features of one convolution: of this model, the global one, and the last local one.

    Only that layer is copied, not the models: the two other sets of weights are applied to the same input.
    """

    def __init__(
        self,
        model: "nn.Module",
        client_state: Mapping[str, Array],
        layer: str,
        weight: float,
        temperature: float,
    ) -> None:
        super().__init__(model, {}, client_state)
        import copy

        self.layer = _select_layer(model, layer)
        self.weight = weight
        self.temperature = temperature
        self.global_layer = copy.deepcopy(self.layer).requires_grad_(False)
        self.previous_layer = copy.deepcopy(self.global_layer)
        self.has_previous = bool(client_state)
        state = self.previous_layer.state_dict()
        for name, array in client_state.items():
            state[name].copy_(state[name].new_tensor(np.array(array)))
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.projection: nn.Module | None = None
        self.hook = self.layer.register_forward_hook(self._remember)

    def penalty(self, degraded: "Tensor") -> "Tensor | None":
        import torch
        from torch.nn import functional

        seen, self.seen = self.seen, []
        if not self.has_previous or not seen:
            return None
        terms = []
        for layer_input, output in seen:
            with torch.no_grad():
                positive = self._project(self.global_layer(layer_input))
                negative = self._project(self.previous_layer(layer_input))
            anchor = self._project(output)
            similarities = torch.stack(
                (
                    functional.cosine_similarity(anchor, positive),
                    functional.cosine_similarity(anchor, negative),
                ),
                dim=1,
            )
            target = torch.zeros(len(anchor), dtype=torch.long, device=anchor.device)
            terms.append(functional.cross_entropy(similarities / self.temperature, target))
        return self.weight * torch.stack(terms).mean()

    def finish(self) -> LocalResult:
        self.hook.remove()
        state = self.layer.state_dict()
        return LocalResult(client_state={name: value.detach().cpu().numpy() for name, value in state.items()})

    def _remember(self, layer: "nn.Module", inputs: "tuple[Tensor, ...]", output: "Tensor") -> None:
        if self.has_previous and self.model.training:
            self.seen.append((inputs[0].detach(), output))

    def _project(self, features: "Tensor") -> "Tensor":
        import torch
        from torch import nn

        pooled = features.float().flatten(2).mean(2)
        if self.projection is None:
            # Every client of a federation projects alike, without the projection being sent.
            with torch.random.fork_rng():
                torch.manual_seed(_PROJECTION_SEED)
                self.projection = (
                    nn.Sequential(
                        nn.Linear(pooled.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _PROJECTED)
                    )
                    .requires_grad_(False)
                    .to(pooled.device)
                )
        projected: Tensor = self.projection(pooled)
        return projected


class FedSROptions(Section):
    """The options of FedSR."""

    weight: float = Field(0.1, ge=0, description="weight of the contrastive term")
    temperature: float = Field(0.07, gt=0, description="temperature of the contrastive term")
    layer: str = Field(
        "",
        description="convolution or linear layer whose output is the shallow features; empty: the first one",
    )


class FedSR(FedAvg):
    """Trains with `ContrastiveTerm`, and averages each tensor by `similarity_shares`."""

    name = "fedsr"
    description = "contrast of shallow features, averaging by similarity"
    source = (
        "Yang and Ke, FedSR: Federated learning for image Super-Resolution via detail-assisted contrastive "
        "learning, Knowledge-Based Systems 309, 2025, https://doi.org/10.1016/j.knosys.2024.112778"
    )
    Options = FedSROptions
    stateful = True

    options: FedSROptions

    def make_local_term(
        self, model: "nn.Module", global_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        options = self.options
        return ContrastiveTerm(model, client_state, options.layer, options.weight, options.temperature)

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        if updates.context.round_number <= 1:
            return super().aggregate(updates)
        shares = similarity_shares(updates.base, updates.updates)
        return Aggregate(
            weighted_mean_by_tensor(updates.base, updates.updates, lambda client, name: shares[name][client])
        )


def similarity_shares(base: Mapping[str, Array], updates: Updates) -> dict[str, dict[str, float]]:
    """Returns, for each tensor, the softmax over clients of its cosine similarity to the base's."""
    similarities: dict[str, dict[str, float]] = {name: {} for name in base}
    for client in updates.clients:
        for name, array in updates.tensors(client):
            similarities[name][client] = _cosine(base[name], array)
    shares = {}
    for name, by_client in similarities.items():
        powers = {client: math.exp(value) for client, value in by_client.items()}
        total = math.fsum(powers.values())
        shares[name] = {client: power / total for client, power in powers.items()}
    return shares


def _cosine(first: Array, second: Array) -> float:
    a = first.reshape(-1).astype(np.float64)
    b = second.reshape(-1).astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0


def _select_layer(model: "nn.Module", name: str) -> Any:
    from torch import nn

    layers = {
        layer_name: module
        for layer_name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    if name and name in layers:
        return layers[name]
    if name or not layers:
        raise ConfigError(
            "strategy.options.layer",
            name,
            f"it must be one of the model's layers: {', '.join(layers) or 'it has none'}",
        )
    return next(iter(layers.values()))
