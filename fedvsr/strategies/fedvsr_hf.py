"""An ablation of FedVSR: its high-frequency loss, with FedAvg's aggregation.

See `fedvsr.strategies.fedvsr` for the paper.
"""

from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.fedvsr import FedVSR


class FedVSRHighFrequency(FedAvg):
    """Trains with the high-frequency loss, and weighs the clients as FedAvg does."""

    name = "fedvsr-hf"
    description = "ablation: fedvsr's high-frequency loss, fedavg's aggregation"
    source = FedVSR.source
    high_frequency_loss = True
