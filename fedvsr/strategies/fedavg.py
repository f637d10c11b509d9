"""FedAvg: the mean of the clients' weights, weighted by number of clips.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
https://arxiv.org/abs/1602.05629.
"""

from fedvsr.strategies.base import Strategy


class FedAvg(Strategy):
    """Weighs the clients by their numbers of clips: what `Strategy` does by default."""

    name = "fedavg"
    description = "mean of the clients' weights, by number of clips"
    source = (
        "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, "
        "AISTATS 2017, https://arxiv.org/abs/1602.05629"
    )
