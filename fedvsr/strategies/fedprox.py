"""FedProx (Li et al., 2020): FedAvg with a term that holds clients near the global weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedvsr.errors import ConfigError
from fedvsr.strategies.base import LocalTerm
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


class ProximalTerm(LocalTerm):
    """Adds μ/2·‖w − w_global‖² over the trainable parameters to the loss."""

    def __init__(self, model: "nn.Module", mu: float) -> None:
        super().__init__(model, {}, {})
        self.mu = mu
        self.anchor = [parameter.detach().clone() for parameter in model.parameters()]

    def penalty(self, degraded: "Tensor") -> "Tensor | None":
        total = None
        for parameter, anchor in zip(self.model.parameters(), self.anchor, strict=True):
            if parameter.requires_grad:
                term = (parameter - anchor).square().sum()
                total = term if total is None else total + term
        return None if total is None else self.mu / 2 * total


class FedProx(FedAvg):
    """FedAvg with the proximal term.

    Args:
        mu: The term's weight; 0 is FedAvg.
    """

    name = "fedprox"
    description = "fedavg with a proximal term (option: mu)"

    def __init__(self, mu: float = 1e-3) -> None:
        if not mu >= 0:
            raise ConfigError("strategy.options.mu", mu, "it must be at least 0")
        self.mu = mu

    def make_local_term(
        self, model: "nn.Module", global_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        return ProximalTerm(model, self.mu)
