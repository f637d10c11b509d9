"""FedAdagrad: FedAvg with Adagrad at the server.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

from fedvsr.server_optimisers.adagrad import Adagrad, AdagradOptions
from fedvsr.strategies.fedavg import FedAvg


class FedAdagrad(FedAvg):
    """FedAvg, whose options are those of its server optimiser `Adagrad`."""

    name = "fedadagrad"
    description = "fedavg with Adagrad at the server"
    source = Adagrad.source
    Options = AdagradOptions
    server_optimiser = Adagrad

    options: AdagradOptions
