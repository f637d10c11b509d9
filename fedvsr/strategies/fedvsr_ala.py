"""FedVSR's aggregation alone, without the high-frequency loss: an ablation."""

from fedvsr.strategies.fedvsr import FedVSR


class FedVSRLossAware(FedVSR):
    """Clients train with the Charbonnier loss; the server weighs them by their losses."""

    name = "fedvsr-ala"
    description = "ablation: fedvsr's loss-aware aggregation, without its loss (option: threshold)"
    high_frequency_loss = False
