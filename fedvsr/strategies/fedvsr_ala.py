"""FedVSR's aggregation alone, without the high-frequency loss: an ablation.

Its paper is FedVSR's: see `fedvsr.strategies.fedvsr`.
"""

from fedvsr.strategies.fedvsr import FedVSR


class FedVSRLossAware(FedVSR):
    """Trains with the Charbonnier loss alone, and weighs the clients by their losses."""

    name = "fedvsr-ala"
    description = "ablation: fedvsr's loss-aware aggregation, without its loss"
    high_frequency_loss = False
