"""FedMedian (Yin et al., 2018): the median of the clients' weights, coordinate by coordinate."""

import numpy as np

from fedvsr.strategies.averaging import to_dtype_of
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.weights import Array


class FedMedian(FedAvg):
    """Half of the clients may send anything without moving a coordinate out of the others' range.

    An even number of clients gives the mean of the two in the middle. Integer buffers are rounded
    to the nearest, ties to even.
    """

    name = "fedmedian"
    description = "coordinate-wise median of the clients' weights"

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        result: dict[str, Array] = {}
        for name, array in updates.base.items():
            median = np.empty(array.size, array.dtype)
            for where, values in updates.updates.pieces(name, array.size):
                integers = not np.issubdtype(array.dtype, np.floating)
                median[where] = to_dtype_of(
                    array,
                    np.median(values.astype(np.float64), axis=0),
                    (values.min(axis=0), values.max(axis=0)) if integers else None,
                )
            result[name] = median.reshape(array.shape)
        return Aggregate(result)
