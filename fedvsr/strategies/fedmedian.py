"""FedMedian: the median of the clients' weights, coordinate by coordinate.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
https://arxiv.org/abs/1803.01498.
"""

import numpy as np
from numpy.typing import NDArray

from fedvsr.config.base import NoOptions
from fedvsr.strategies.averaging import by_coordinate
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.weights import Array


class FedMedian(FedAvg):
    """Takes the median of each coordinate.

    If fewer than half of the clients send arbitrary values, each coordinate stays in the range of the other
    clients' values. With an even number of clients, the median is the mean of the two in the middle. Integer
    buffers are rounded to the nearest integer, ties to even.
    """

    name = "fedmedian"
    description = "coordinate-wise median of the clients' weights"
    source = (
        "Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018, "
        "https://arxiv.org/abs/1803.01498"
    )
    Options = NoOptions
    needs_updates = "a median is not a sum"

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        return Aggregate(by_coordinate(updates.base, updates.updates, _median))


def _median(values: Array) -> tuple[NDArray[np.float64], Array]:
    return np.asarray(np.median(values.astype(np.float64), axis=0), np.float64), values
