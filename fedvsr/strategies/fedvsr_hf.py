"""FedVSR's loss alone, aggregated as FedAvg does: an ablation."""

from fedvsr.strategies.fedavg import FedAvg


class FedVSRHighFrequency(FedAvg):
    """Clients train with L_HiFr; a client counts by its number of clips."""

    name = "fedvsr-hf"
    description = "ablation: fedvsr's high-frequency loss, fedavg's aggregation"
    high_frequency_loss = True
