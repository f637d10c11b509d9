"""Weighted means of updates.

Sums run in float64 and in the order of the clients' names, so that the bytes of the result depend
neither on the order of arrival nor on how many updates fit in memory.

Parameters and floating-point buffers, the running statistics of batch normalisation among them,
are averaged. Integer and boolean buffers are counters, tables or masks: the mean is rounded to the
nearest integer, ties to even, which leaves a table that all clients share as it is.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array


def weighted_mean(
    base: Mapping[str, Array], updates: Updates, weights: Mapping[str, float]
) -> dict[str, Array]:
    """Returns the sum over clients of weight times tensor, in the base's dtypes.

    Args:
        base: The global weights: they give names, shapes and dtypes.
        updates: The clients' weights.
        weights: Each client's share; they sum to 1.
    """
    return weighted_mean_by_tensor(base, updates, lambda client, _: weights[client])


def weighted_mean_by_tensor(
    base: Mapping[str, Array], updates: Updates, weight: Callable[[str, str], float]
) -> dict[str, Array]:
    """Like `weighted_mean`, with a weight for each client and tensor name."""
    sums: dict[str, NDArray[np.float64]] = {
        name: np.zeros(array.shape, np.float64) for name, array in base.items()
    }
    for client in updates.clients:
        for name, array in updates.tensors(client):
            sums[name] += np.multiply(array, weight(client, name), dtype=np.float64)
    result: dict[str, Array] = {}
    for name in list(sums):
        # Popping keeps the float64 sums and the result from being in memory together.
        result[name] = to_dtype_of(base[name], sums.pop(name))
    return result


def to_dtype_of(base: Array, values: NDArray[np.float64]) -> Array:
    """Casts to the base tensor's dtype, rounding where it is an integer or boolean."""
    if np.issubdtype(base.dtype, np.floating):
        return values.astype(base.dtype)
    return np.rint(values).astype(base.dtype)
