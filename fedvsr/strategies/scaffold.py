"""SCAFFOLD (Karimireddy et al., 2020): control variates against the clients' drift.

The server keeps c, a client c_i. A local step's gradient is corrected by c − c_i. At the end the
client's new variate is the mean of its uncorrected gradients over the local steps. For plain
gradient descent that is the paper's option II, (x − y_i)/(K·η) + c_i − c; unlike that expression it
holds for any optimiser, Adam among them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import ConfigError
from fedvsr.strategies.averaging import to_dtype_of
from fedvsr.strategies.base import Aggregate, Contribution, LocalResult, LocalTerm, RoundContext
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array

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
            sent={name: _array(variates[name] - self.client[name]) for name in variates},
            kept={name: _array(value) for name, value in variates.items()},
        )


class Scaffold(FedAvg):
    """The only strategy of the paper's comparison whose clients keep something between rounds.

    Args:
        global_learning_rate: η_g, how far the server goes towards the mean of the clients' weights.
    """

    name = "scaffold"
    description = "control variates; clients keep state (option: global_learning_rate)"
    local_term = ControlVariates
    stateful = True

    def __init__(self, global_learning_rate: float = 1.0) -> None:
        if not global_learning_rate > 0:
            raise ConfigError(
                "strategy.options.global_learning_rate", global_learning_rate, "it must be greater than 0"
            )
        self.global_learning_rate = global_learning_rate

    def aggregate(
        self,
        base: Mapping[str, Array],
        updates: Updates,
        extras: Updates,
        contributions: tuple[Contribution, ...],
        context: RoundContext,
        state: Mapping[str, Array],
    ) -> Aggregate:
        count = len(contributions)
        weights = dict.fromkeys(updates.clients, 1 / count)
        tensors: dict[str, Array] = {}
        means = _means(base, updates)
        for name, array in base.items():
            mean = means.pop(name)
            if np.issubdtype(array.dtype, np.floating):
                start = array.astype(np.float64)
                mean = start + self.global_learning_rate * (mean - start)
            tensors[name] = to_dtype_of(array, mean)
        sent = extras.names(extras.clients[0])
        changes = _means({name: base[name] for name in sorted(sent)}, extras)
        variates: dict[str, Array] = {}
        for name, change in changes.items():
            previous = state.get(name)
            start = np.zeros(change.shape) if previous is None else previous.astype(np.float64)
            # c moves by the mean change of all clients; those that did not take part changed nothing.
            variates[name] = (start + count / context.clients * change).astype(np.float32)
        return Aggregate(tensors, weights, {}, variates)


def _means(like: Mapping[str, Array], updates: Updates) -> dict[str, NDArray[np.float64]]:
    sums = {name: np.zeros(array.shape, np.float64) for name, array in like.items()}
    for client in updates.clients:
        for name, array in updates.tensors(client):
            sums[name] += array.astype(np.float64)
    return {name: total / len(updates.clients) for name, total in sums.items()}


def _like(parameter: "Tensor", value: Array | None) -> "Tensor":
    if value is None:
        return parameter.detach().new_zeros(parameter.shape)
    return parameter.detach().new_tensor(np.array(value))


def _array(tensor: "Tensor") -> Array:
    array: Array = tensor.detach().float().cpu().numpy()
    return array
