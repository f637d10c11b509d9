"""FedDyn: a regulariser that changes from round to round, so that local and joint optima agree.

Acar et al., "Federated Learning Based on Dynamic Regularization", ICLR 2021,
https://openreview.net/forum?id=B7v4QMR6Z9w.

A client k minimises L_k(θ) − ⟨g_k, θ⟩ + α/2·‖θ − θ_base‖² and then sets g_k ← g_k − α·(θ_k − θ_base). In the
paper g_k is the gradient of L_k at the client's last weights: at an exact minimum both are the same. With m
clients in the run and P of them in the round, the server keeps h:

    h ← h − α/m·Σ_P (θ_k − θ_base),  θ ← 1/|P|·Σ_P θ_k − h/α.

g_k stays in the client's own store. The server computes h from the clients' weights alone.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import Aggregate, LocalResult, LocalTerm, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.local_tensors import (
    float32_array,
    refuse_running_statistics,
    tensor_like,
    trainable_parameters,
)
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import nn


class DynamicRegulariser(LocalTerm):
    """Adds −g_k + α·(θ − θ_base) to the gradients, and computes the next g_k.

    Args:
        model: The model, with the base weights loaded.
        client_state: g_k, by parameter; empty if there is none yet.
        alpha: Weight of the regulariser, α.
    """

    def __init__(self, model: "nn.Module", client_state: Mapping[str, Array], alpha: float) -> None:
        super().__init__(model, {}, client_state)
        self.alpha = alpha
        self.parameters = trainable_parameters(model)
        self.base = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.gradients = {
            name: tensor_like(parameter, client_state.get(name))
            for name, parameter in self.parameters.items()
        }

    def correct_gradients(self) -> None:
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.grad += self.alpha * (parameter.detach() - self.base[name]) - self.gradients[name]

    def finish(self) -> LocalResult:
        return LocalResult(
            client_state={
                name: float32_array(
                    self.gradients[name] - self.alpha * (parameter.detach() - self.base[name])
                )
                for name, parameter in self.parameters.items()
            }
        )


class FedDynOptions(Section):
    """The options of FedDyn."""

    alpha: float = Field(0.01, gt=0, description="weight of the dynamic regulariser (α)")


class FedDyn(FedAvg):
    """Adds `DynamicRegulariser` to local training, and corrects the clients' mean by what they moved so far.

    All clients of a round count the same. Floating-point buffers are treated like parameters, so models with
    running statistics are refused.
    """

    name = "feddyn"
    description = "dynamic regularisation against the clients' drift"
    source = (
        "Acar et al., Federated Learning Based on Dynamic Regularization, ICLR 2021, "
        "https://openreview.net/forum?id=B7v4QMR6Z9w"
    )
    Options = FedDynOptions
    stateful = True
    sends_state = False
    needs_updates = "its server adds up how far the clients moved over all rounds"

    options: FedDynOptions

    def make_local_term(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        refuse_running_statistics(model, self.name)
        return DynamicRegulariser(model, client_state, self.options.alpha)

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        clients, alpha = updates.updates.clients, self.options.alpha
        weights = dict.fromkeys(clients, 1 / len(clients))
        # In float64: what the clients moved is small beside the weights.
        base = {name: _widened(array) for name, array in updates.base.items()}
        tensors = weighted_mean(base, updates.updates, weights)
        state: dict[str, Array] = {}
        share = len(clients) / updates.context.clients
        for name, array in updates.base.items():
            if np.issubdtype(array.dtype, np.floating):
                mean = tensors[name].astype(np.float64)
                before = updates.strategy_state.get(name, np.zeros(array.shape, np.float32))
                following = before.astype(np.float64) - alpha * share * (mean - array.astype(np.float64))
                state[name] = following.astype(np.float32)
                tensors[name] = (mean - following / alpha).astype(array.dtype)
        return Aggregate(tensors, weights, strategy_state=state)


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
