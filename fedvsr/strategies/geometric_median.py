"""The geometric median of the clients' weights, as in RFA.

Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE Transactions on Signal
Processing 70, 2022, https://arxiv.org/abs/1912.13445.

The geometric median is the point z with the smallest sum of distances ‖z − w_i‖ from the clients' weights
w_i. The smoothed Weiszfeld algorithm starts at their mean and repeats z ← Σ β_i·w_i / Σ β_i with
β_i = 1 / max(ν, ‖z − w_i‖). z is always a mean with weights that sum to 1, so its distances follow from those
between the clients. The updates are read once for these, whatever the number of iterations, and once for the
final mean.

In the paper, a client counts by its number of examples. Here all count the same: nobody can check a claimed
number, and a client with more than half of the weight would be the median.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.distances import squared_distances
from fedvsr.strategies.fedavg import FedAvg


class GeometricMedianOptions(Section):
    """The options of the geometric median."""

    iterations: int = Field(1000, ge=1, description="largest number of iterations of Weiszfeld's algorithm")
    tolerance: float = Field(
        1e-6, ge=0, description="largest relative change of a client's weight after which it stops"
    )
    nu: float = Field(1e-6, gt=0, description="distance below which a client counts no more (ν)")


class GeometricMedian(FedAvg):
    """Takes the point with the smallest sum of distances from the clients' weights.

    If fewer than half of the clients send arbitrary values, they move it by a distance that does not depend
    on these values.
    """

    name = "geometric-median"
    description = "geometric median of the clients' weights"
    source = (
        "Pillutla, Kakade and Harchaoui, Robust Aggregation for Federated Learning, IEEE Transactions on "
        "Signal Processing 70, 2022, https://arxiv.org/abs/1912.13445"
    )
    Options = GeometricMedianOptions
    needs_updates = "it compares the clients' updates with each other"

    options: GeometricMedianOptions

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        found, iterations = _median_weights(squared_distances(updates), self.options)
        weights = dict(zip(updates.updates.clients, map(float, found), strict=True))
        return Aggregate(
            weighted_mean(updates.base, updates.updates, weights),
            weights,
            {"weiszfeld_iterations": float(iterations)},
        )


def _median_weights(
    squares: NDArray[np.float64], options: GeometricMedianOptions
) -> tuple[NDArray[np.float64], int]:
    """Returns the weights of the clients in the geometric median, and the number of iterations."""
    weights = np.full(len(squares), 1 / len(squares))
    for iteration in range(1, options.iterations + 1):
        inverse = 1 / np.maximum(options.nu, _distances_from_mean(squares, weights))
        following = inverse / inverse.sum()
        change = np.max(np.abs(following / weights - 1))
        weights = following
        if change <= options.tolerance:
            return weights, iteration
    return weights, options.iterations


def _distances_from_mean(squares: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the distance of each client from the mean z = Σ v_j·w_j with weights v that sum to 1.

    ‖w_i − z‖² = Σ_j v_j·‖w_i − w_j‖² − ½·Σ_jk v_j·v_k·‖w_j − w_k‖².
    """
    means = np.einsum("ij,j->i", squares, weights)
    # Rounding can make a distance of 0 negative.
    distances = np.sqrt(np.maximum(0.0, means - np.einsum("i,i->", weights, means) / 2))
    return np.asarray(distances, np.float64)
