"""FedAdam: FedAvg with Adam at the server.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

from fedvsr.server_optimisers.adam import Adam, AdamOptions
from fedvsr.strategies.fedavg import FedAvg


class FedAdam(FedAvg):
    """FedAvg, whose options are those of its server optimiser `Adam`."""

    name = "fedadam"
    description = "fedavg with Adam at the server"
    source = Adam.source
    Options = AdamOptions
    server_optimiser = Adam

    options: AdamOptions
