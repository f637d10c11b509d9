"""SCAFFOLD: control variates against the clients' drift.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020,
https://arxiv.org/abs/1910.06378.

The server keeps c, a client c_i. A local step's gradient is corrected by c − c_i. At the end the
client's new variate is the mean of its uncorrected gradients over the local steps. For plain
gradient descent that is the paper's option II, (x − y_i)/(K·η) + c_i − c; unlike that expression it
holds for any optimiser, Adam among them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean_by_tensor
from fedvsr.strategies.base import Aggregate, LocalResult, LocalTerm, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.weights import Array, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


class ControlVariates(LocalTerm):
    """Corrects the gradients by c − c_i and learns the next c_i."""

    def __init__(
        self, model: "nn.Module", global_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> None:
        super().__init__(model, global_state, client_state)
        self.parameters = {
            name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
        }
        self.server = {name: _like(value, global_state.get(name)) for name, value in self.parameters.items()}
        self.client = {name: _like(value, client_state.get(name)) for name, value in self.parameters.items()}
        self.gradients = {name: _like(value, None) for name, value in self.parameters.items()}
        self.steps = 0

    def correct_gradients(self) -> None:
        self.steps += 1
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                self.gradients[name] += parameter.grad
                parameter.grad += self.server[name] - self.client[name]

    def finish(self) -> LocalResult:
        variates = {name: total / max(1, self.steps) for name, total in self.gradients.items()}
        return LocalResult(
            strategy_tensors={name: _array(variates[name] - self.client[name]) for name in variates},
            client_state={name: _array(value) for name, value in variates.items()},
        )


class ScaffoldOptions(Section):
    """The options of SCAFFOLD."""

    global_learning_rate: float = Field(
        1.0, gt=0, description="how far the server goes towards the mean of the clients' weights (η_g)"
    )


class Scaffold(FedAvg):
    """Corrects local gradients by `ControlVariates`, which the server and every client keep."""

    name = "scaffold"
    description = "control variates against the clients' drift"
    source = (
        "Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020, "
        "https://arxiv.org/abs/1910.06378"
    )
    Options = ScaffoldOptions
    local_term = ControlVariates
    stateful = True

    options: ScaffoldOptions

    def check_strategy_tensors(
        self, specs: Mapping[str, TensorSpec], base_specs: Mapping[str, TensorSpec]
    ) -> str | None:
        if not specs:
            return "the change of its control variate is missing"
        for name, spec in sorted(specs.items()):
            weights = base_specs.get(name)
            if weights is None or not np.issubdtype(weights.dtype, np.floating):
                return f"strategy tensor {name!r} belongs to no parameter of the model"
            expected = TensorSpec(weights.shape, np.dtype(np.float32))
            if spec != expected:
                return f"strategy tensor {name!r}: expected {expected}, found {spec}"
        return None

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        share = 1 / len(updates.contributions)
        tensors = weighted_mean_by_tensor(
            updates.base,
            updates.updates,
            lambda client, name: share,
            server_learning_rate=self.options.global_learning_rate,
        )
        return Aggregate(
            tensors, dict.fromkeys(updates.updates.clients, share), {}, _next_control_variate(updates)
        )


def _next_control_variate(updates: RoundUpdates) -> dict[str, Array]:
    """Moves c by the mean change over all clients; those that did not take part changed nothing."""
    changes: dict[str, NDArray[np.float64]] = {}
    for client in updates.strategy_tensors.clients:
        for name, change in updates.strategy_tensors.tensors(client):
            changes.setdefault(name, np.zeros(change.shape, np.float64))
            changes[name] += change.astype(np.float64)
    variates = {name: array.astype(np.float64) for name, array in updates.strategy_state.items()}
    for name, total in changes.items():
        variates[name] = variates.get(name, 0.0) + total / updates.context.clients
    return {name: array.astype(np.float32) for name, array in variates.items()}


def _like(parameter: "Tensor", value: Array | None) -> "Tensor":
    if value is None:
        return parameter.detach().new_zeros(parameter.shape)
    return parameter.detach().new_tensor(np.array(value))


def _array(tensor: "Tensor") -> Array:
    array: Array = tensor.detach().float().cpu().numpy()
    return array
