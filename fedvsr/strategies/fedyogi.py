"""FedYogi: FedAvg with Yogi at the server.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

from fedvsr.server_optimisers.yogi import Yogi, YogiOptions
from fedvsr.strategies.fedavg import FedAvg


class FedYogi(FedAvg):
    """FedAvg, whose options are those of its server optimiser `Yogi`."""

    name = "fedyogi"
    description = "fedavg with Yogi at the server"
    source = Yogi.source
    Options = YogiOptions
    server_optimiser = Yogi

    options: YogiOptions
