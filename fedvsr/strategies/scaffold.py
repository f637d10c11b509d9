"""SCAFFOLD: control variates against the clients' drift.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020,
https://arxiv.org/abs/1910.06378.

The server keeps a control variate c, and each client one c_i. The correction c − c_i is added to the gradient
of each local step. At the end, the client's new control variate is the mean of its uncorrected gradients over
the local steps. For plain gradient descent that equals the paper's option II, (x − y_i)/(K·η) + c_i − c.
Unlike that expression, it is also valid for other optimisers, such as Adam.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import Aggregate, LocalResult, LocalTerm, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.local_tensors import float32_array, tensor_like, trainable_parameters
from fedvsr.weights import Array, TensorSpec

if TYPE_CHECKING:
    from torch import nn


class ControlVariates(LocalTerm):
    """Adds c − c_i to the gradients, and computes the next c_i."""

    def __init__(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> None:
        super().__init__(model, strategy_state, client_state)
        self.parameters = trainable_parameters(model)
        self.server_variates = {
            name: tensor_like(value, strategy_state.get(name)) for name, value in self.parameters.items()
        }
        self.client_variates = {
            name: tensor_like(value, client_state.get(name)) for name, value in self.parameters.items()
        }
        self.gradient_sums = {name: tensor_like(value, None) for name, value in self.parameters.items()}
        self.steps = 0

    def correct_gradients(self) -> None:
        self.steps += 1
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                self.gradient_sums[name] += parameter.grad
                parameter.grad += self.server_variates[name] - self.client_variates[name]

    def finish(self) -> LocalResult:
        variates = {name: total / max(1, self.steps) for name, total in self.gradient_sums.items()}
        return LocalResult(
            strategy_tensors={
                name: float32_array(variates[name] - self.client_variates[name]) for name in variates
            },
            client_state={name: float32_array(value) for name, value in variates.items()},
        )


class ScaffoldOptions(Section):
    """The options of SCAFFOLD."""

    global_learning_rate: float = Field(
        1.0, gt=0, description="how far the server goes towards the mean of the clients' weights (η_g)"
    )


class Scaffold(FedAvg):
    """Corrects local gradients with control variates, which the server and every client keep."""

    name = "scaffold"
    description = "control variates against the clients' drift"
    source = (
        "Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020, "
        "https://arxiv.org/abs/1910.06378"
    )
    Options = ScaffoldOptions
    local_term = ControlVariates
    stateful = True
    needs_updates = "clients send control variates beside their weights"

    options: ScaffoldOptions

    def find_strategy_tensor_problem(
        self, specs: Mapping[str, TensorSpec], base_specs: Mapping[str, TensorSpec]
    ) -> str | None:
        if not specs:
            return "the change of its control variate is missing"
        for name, spec in sorted(specs.items()):
            base_spec = base_specs.get(name)
            if base_spec is None or not np.issubdtype(base_spec.dtype, np.floating):
                return f"strategy tensor {name!r} belongs to no parameter of the model"
            expected = TensorSpec(base_spec.shape, np.dtype(np.float32))
            if spec != expected:
                return f"strategy tensor {name!r}: expected {expected}, found {spec}"
        return None

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        weights = dict.fromkeys(updates.updates.clients, 1 / len(updates.contributions))
        tensors = weighted_mean(
            updates.base,
            updates.updates,
            weights,
            server_learning_rate=self.options.global_learning_rate,
        )
        return Aggregate(tensors, weights, {}, _next_control_variate(updates))


def _next_control_variate(updates: RoundUpdates) -> dict[str, Array]:
    """Adds to c the mean change over all clients; a client that did not take part has the change 0."""
    changes: dict[str, NDArray[np.float64]] = {}
    for client in updates.strategy_tensors.clients:
        for name, change in updates.strategy_tensors.tensors(client):
            changes.setdefault(name, np.zeros(change.shape, np.float64))
            changes[name] += change.astype(np.float64)
    variates = {name: array.astype(np.float64) for name, array in updates.strategy_state.items()}
    for name, total in changes.items():
        variates[name] = variates.get(name, 0.0) + total / updates.context.clients
    return {name: array.astype(np.float32) for name, array in variates.items()}
