"""Bulyan: a selection by Krum, then a mean of each coordinate around its median.

El Mhamdi, Guerraoui and Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018,
https://arxiv.org/abs/1802.07927.

Of n updates, of which f may be arbitrary, θ = n − 2·f are selected: one by Krum, then one by Krum from
those that are left, and so on. Then each coordinate is the mean of those β = θ − 2·f selected values that are
nearest to the median of the selected values. The paper requires n ≥ 4·f + 3.
"""

import numpy as np
from numpy.typing import NDArray

from fedvsr.strategies.averaging import by_coordinate
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.distances import squared_distances
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.krum import KrumOptions, krum_scores
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array


class Bulyan(FedAvg):
    """Selects θ clients by Krum, and takes the mean of the β values nearest to each coordinate's median.

    The last runs of Krum have fewer clients than Krum requires; there a client's score counts at least its
    nearest neighbour. The median of an even number of values is the mean of the two in the middle. Of two
    values that are equally near to it, the smaller one counts. Integer buffers are rounded to the nearest
    integer, ties to even.
    """

    name = "bulyan"
    description = "selection by krum, then coordinate-wise mean around the median"
    source = (
        "El Mhamdi, Guerraoui and Rouault, The Hidden Vulnerability of Distributed Learning in Byzantium, "
        "ICML 2018, https://arxiv.org/abs/1802.07927"
    )
    Options = KrumOptions
    needs_updates = "it compares the clients' updates with each other"

    options: KrumOptions

    @property
    def min_updates(self) -> int:
        return 4 * self.options.malicious + 3

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        self.check_count(updates)
        malicious = self.options.malicious
        squares = squared_distances(updates)
        chosen = _select(squares, malicious, len(squares) - 2 * malicious)
        files = list(updates.updates.files.items())
        selected = Updates(dict(files[index] for index in chosen))
        averaged = len(chosen) - 2 * malicious

        def mean_around_median(values: Array) -> tuple[NDArray[np.float64], Array]:
            ordered = np.sort(values, axis=0)
            return _mean_around_median(ordered.astype(np.float64), averaged), ordered

        return Aggregate(by_coordinate(updates.base, selected, mean_around_median))


def _select(squares: NDArray[np.float64], malicious: int, count: int) -> list[int]:
    """Returns the indices of the clients that Krum selects, each from those that are left."""
    left = list(range(len(squares)))
    chosen = []
    for _ in range(count):
        scores = krum_scores(squares[np.ix_(left, left)], malicious)
        chosen.append(left.pop(int(np.argmin(scores))))
    return chosen


def _mean_around_median(ordered: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Returns the mean of the values nearest to each column's median.

    Args:
        ordered: The values, sorted along the first axis, (clients, elements).
        count: How many values of a column are averaged.
    """
    median = np.median(ordered, axis=0)
    # The nearest values of a sorted column are neighbours: those whose farther end is nearest.
    windows = range(len(ordered) - count + 1)
    reaches = [np.maximum(median - ordered[start], ordered[start + count - 1] - median) for start in windows]
    best = np.argmin(reaches, axis=0)
    nearest = np.take_along_axis(ordered, best + np.arange(count)[:, np.newaxis], axis=0)
    return np.asarray(nearest.mean(axis=0), np.float64)
