"""FedVSR's loss alone, aggregated as FedAvg does: an ablation.

Its paper is FedVSR's: see `fedvsr.strategies.fedvsr`.
"""

from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.fedvsr import FedVSR


class FedVSRHighFrequency(FedAvg):
    """Trains with L_HiFr, and counts a client by its number of clips."""

    name = "fedvsr-hf"
    description = "ablation: fedvsr's high-frequency loss, fedavg's aggregation"
    source = FedVSR.source
    high_frequency_loss = True
