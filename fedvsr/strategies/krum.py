"""Krum: the weights of the client that is nearest to the others.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
https://arxiv.org/abs/1703.02757.

A client's score is the sum of the squared distances between its update and the n − f − 2 updates nearest to
it, of n updates of which f may be arbitrary. The paper requires n ≥ 2·f + 3.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.distances import squared_distances
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.updates import Updates

SOURCE = (
    "Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, NeurIPS 2017, "
    "https://arxiv.org/abs/1703.02757"
)


def krum_scores(squares: NDArray[np.float64], malicious: int) -> NDArray[np.float64]:
    """Returns each client's score; the smaller it is, the nearer are the client's neighbours.

    Args:
        squares: The squared distances of n clients, (n, n); see `squared_distances`.
        malicious: Number of clients that may send arbitrary updates, f.

    Returns:
        The sum of each client's max(1, n − f − 2) smallest squared distances from others, (n,).
    """
    neighbours = max(1, len(squares) - malicious - 2)
    # The smallest of a row is the client's distance from itself, 0.
    nearest = np.sort(squares, axis=1)[:, 1 : neighbours + 1]
    return np.asarray(nearest.sum(axis=1), np.float64)


def mean_of(updates: RoundUpdates, clients: Sequence[str]) -> Aggregate:
    """Returns the mean of some clients' weights; the others have the aggregation weight 0."""
    weights = dict.fromkeys(clients, 1 / len(clients))
    selected = Updates({client: updates.updates.files[client] for client in clients})
    return Aggregate(
        weighted_mean(updates.base, selected, weights),
        dict.fromkeys(updates.updates.clients, 0.0) | weights,
    )


class KrumOptions(Section):
    """The options of Krum."""

    malicious: int = Field(1, ge=0, description="clients of a round that may send arbitrary updates (f)")


class Krum(FedAvg):
    """Takes the weights of the client with the smallest score.

    Of clients with the same score, the first by name counts.
    """

    name = "krum"
    description = "weights of the client that is nearest to the others"
    source = SOURCE
    Options = KrumOptions
    needs_updates = "it compares the clients' updates with each other"

    options: KrumOptions

    @property
    def min_updates(self) -> int:
        return 2 * self.options.malicious + 3

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        self.check_count(updates)
        scores = krum_scores(squared_distances(updates), self.options.malicious)
        return mean_of(updates, [updates.updates.clients[int(np.argmin(scores))]])
