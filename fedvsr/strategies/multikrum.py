"""Multi-Krum: the mean of the clients that are nearest to the others.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
https://arxiv.org/abs/1703.02757.
"""

import numpy as np
from pydantic import Field

from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.distances import squared_distances
from fedvsr.strategies.krum import Krum, KrumOptions, krum_scores, mean_of


class MultiKrumOptions(KrumOptions):
    """The options of Multi-Krum."""

    selected: int = Field(0, ge=0, description="clients that are averaged (m); 0: all but f")


class MultiKrum(Krum):
    """Takes the mean of the m clients with the smallest scores; each of them counts the same.

    Of clients with the same score, the first ones by name count. m is at most n − f: of more clients, one
    would be malicious.
    """

    name = "multikrum"
    description = "mean of the clients that are nearest to the others"
    Options = MultiKrumOptions

    options: MultiKrumOptions

    @property
    def min_updates(self) -> int:
        return max(super().min_updates, self.options.selected + self.options.malicious)

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        self.check_count(updates)
        clients, malicious = updates.updates.clients, self.options.malicious
        scores = krum_scores(squared_distances(updates), malicious)
        count = self.options.selected or len(clients) - malicious
        best = np.argsort(scores, kind="stable")[:count]
        return mean_of(updates, [clients[index] for index in sorted(best)])
