"""An ablation of FedVSR: its loss-aware aggregation, without its high-frequency loss.

See `fedvsr.strategies.fedvsr` for the paper.
"""

from fedvsr.strategies.fedvsr import FedVSR


class FedVSRLossAware(FedVSR):
    """Trains with the Charbonnier loss alone, and weighs the clients by their losses."""

    name = "fedvsr-ala"
    description = "ablation: fedvsr's loss-aware aggregation, without its loss"
    high_frequency_loss = False
