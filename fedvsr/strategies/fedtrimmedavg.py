"""FedTrimmedAvg: the trimmed mean of the clients' weights, coordinate by coordinate.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
https://arxiv.org/abs/1803.01498.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import by_coordinate
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.weights import Array

# So that 0.29·100, which is 28.999999999999996 in float64, counts as 29.
_ROUNDING = 1e-9


class FedTrimmedAvgOptions(Section):
    """The options of FedTrimmedAvg."""

    beta: float = Field(
        0.2, ge=0, lt=0.5, description="share of the clients that is left out at each end (β); 0: the mean"
    )


class FedTrimmedAvg(FedAvg):
    """Takes the mean of each coordinate without its largest and smallest values.

    ⌊β·n⌋ of n clients are left out at each end, so that many clients may send arbitrary values: each
    coordinate stays in the range of the other clients' values. All clients that are left count the same.
    Integer buffers are rounded to the nearest integer, ties to even.
    """

    name = "fedtrimmedavg"
    description = "coordinate-wise trimmed mean of the clients' weights"
    source = (
        "Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018, "
        "https://arxiv.org/abs/1803.01498"
    )
    Options = FedTrimmedAvgOptions

    needs_updates = "a trimmed mean is not a sum"

    options: FedTrimmedAvgOptions

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        count = len(updates.updates.clients)
        trimmed = math.floor(self.options.beta * count + _ROUNDING)

        def trimmed_mean(values: Array) -> tuple[NDArray[np.float64], Array]:
            kept = np.sort(values, axis=0)[trimmed : count - trimmed]
            return kept.mean(axis=0, dtype=np.float64), kept

        tensors = by_coordinate(updates.base, updates.updates, trimmed_mean)
        return Aggregate(tensors, diagnostics={"trimmed_at_each_end": float(trimmed)})
