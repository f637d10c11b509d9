"""FedAvgM: FedAvg with momentum at the server.

Hsu et al., "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
2019, https://arxiv.org/abs/1909.06335.
"""

from fedvsr.server_optimisers.momentum import Momentum, MomentumOptions
from fedvsr.strategies.fedavg import FedAvg


class FedAvgM(FedAvg):
    """FedAvg, whose options are those of its server optimiser `Momentum`."""

    name = "fedavgm"
    description = "fedavg with momentum at the server"
    source = Momentum.source
    Options = MomentumOptions
    server_optimiser = Momentum

    options: MomentumOptions
