"""FedMedian: the median of the clients' weights, coordinate by coordinate.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
https://arxiv.org/abs/1803.01498.
"""

import numpy as np

from fedvsr.config.base import NoOptions
from fedvsr.strategies.averaging import to_dtype_of
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
        result: dict[str, Array] = {}
        for name, array in updates.base.items():
            median = np.empty(array.size, array.dtype)
            for piece, values in updates.updates.pieces(name, array.size):
                is_integer = not np.issubdtype(array.dtype, np.floating)
                median[piece] = to_dtype_of(
                    array,
                    np.median(values.astype(np.float64), axis=0),
                    (values.min(axis=0), values.max(axis=0)) if is_integer else None,
                )
            result[name] = median.reshape(array.shape)
        return Aggregate(result)
