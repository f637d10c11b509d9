"""FedProx: FedAvg with a term that keeps clients near the base weights.

Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, https://arxiv.org/abs/1812.06127.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from fedvsr.strategies.base import LocalTerm
from fedvsr.strategies.fedavg import FedAvg, FedAvgOptions
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


class ProximalTerm(LocalTerm):
    """Adds μ/2·‖w − w_base‖² over the trainable parameters to the loss."""

    def __init__(self, model: "nn.Module", mu: float) -> None:
        super().__init__(model, {}, {})
        self.mu = mu
        self.base_parameters = [parameter.detach().clone() for parameter in model.parameters()]

    def penalty(self, low_resolution: "Tensor") -> "Tensor | None":
        total = None
        for parameter, base in zip(self.model.parameters(), self.base_parameters, strict=True):
            if parameter.requires_grad:
                term = (parameter - base).square().sum()
                total = term if total is None else total + term
        return None if total is None else self.mu / 2 * total


class FedProxOptions(FedAvgOptions):
    """The options of FedProx."""

    mu: float = Field(1e-3, ge=0, description="weight of the proximal term; 0 is FedAvg")


class FedProx(FedAvg):
    """Adds `ProximalTerm` to the clients' loss."""

    name = "fedprox"
    description = "fedavg with a proximal term"
    source = (
        "Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, "
        "https://arxiv.org/abs/1812.06127"
    )
    Options = FedProxOptions

    options: FedProxOptions

    def make_local_term(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        return ProximalTerm(model, self.options.mu)
