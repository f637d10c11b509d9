"""Weighted means of updates.

Sums run in float64 and in the order of the clients' names, so that the bytes of the result depend
neither on the order of arrival nor on how many updates fit in memory.

Parameters and floating-point buffers, the running statistics of batch normalisation among them,
are averaged. Integer and boolean buffers are counters, tables or masks: the mean is rounded to the
nearest integer, ties to even, and kept within the clients' range, which leaves a table that all
clients share as it is, also where its numbers are too large for float64.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedvsr.strategies.updates import Updates
from fedvsr.weights import CHUNK_ELEMENTS, Array, Chunk


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
    base: Mapping[str, Array],
    updates: Updates,
    weight: Callable[[str, str], float],
    *,
    server_learning_rate: float = 1.0,
) -> dict[str, Array]:
    """Like `weighted_mean`, with a weight for each client and tensor name.

    Args:
        base: The global weights.
        updates: The clients' weights.
        weight: The share of a client in a tensor, of their names.
        server_learning_rate: How far floating-point tensors go from the base towards the mean.
    """
    sums: dict[str, NDArray[np.float64]] = {
        name: np.zeros(array.size, np.float64) for name, array in base.items()
    }
    ranges: dict[str, tuple[Array, Array]] = {}
    products = np.empty(CHUNK_ELEMENTS, np.float64)
    for client in updates.clients:
        for chunk in updates.chunks(client):
            product = products[: chunk.values.size]
            # Faster than a multiplication that casts as it goes, and the same bits.
            np.copyto(product, chunk.values)
            product *= weight(client, chunk.name)
            sums[chunk.name][chunk.start : chunk.stop] += product
            if not np.issubdtype(chunk.values.dtype, np.floating):
                _widen(ranges, base, chunk)
    result: dict[str, Array] = {}
    for name in list(sums):
        # Popping keeps the float64 sums and the result from being in memory together.
        mean = sums.pop(name).reshape(base[name].shape)
        if server_learning_rate != 1 and name not in ranges:
            start = base[name].astype(np.float64)
            mean = start + server_learning_rate * (mean - start)
        result[name] = to_dtype_of(base[name], mean, ranges.get(name))
    return result


def _widen(ranges: dict[str, tuple[Array, Array]], base: Mapping[str, Array], chunk: Chunk) -> None:
    """Makes a tensor's range of values, element by element, contain those of a chunk."""
    if chunk.name not in ranges:
        shape, dtype = base[chunk.name].shape, chunk.values.dtype
        ranges[chunk.name] = np.full(shape, _highest(dtype), dtype), np.full(shape, _lowest(dtype), dtype)
    lowest, highest = (bound.reshape(-1)[chunk.start : chunk.stop] for bound in ranges[chunk.name])
    np.minimum(lowest, chunk.values, out=lowest)
    np.maximum(highest, chunk.values, out=highest)


def _lowest(dtype: np.dtype[np.generic]) -> object:
    return False if dtype == np.bool_ else np.iinfo(dtype.name).min


def _highest(dtype: np.dtype[np.generic]) -> object:
    return True if dtype == np.bool_ else np.iinfo(dtype.name).max


def to_dtype_of(base: Array, values: NDArray[np.float64], within: tuple[Array, Array] | None = None) -> Array:
    """Casts to the base tensor's dtype.

    Args:
        base: The tensor that has the dtype.
        values: What is cast.
        within: The smallest and largest of what ``values`` are the mean or median of, in the base's
            dtype; needed where that is an integer or boolean, to which ``values`` are rounded.
    """
    if within is None:
        return values.astype(base.dtype)
    lowest, highest = within
    rounded = np.rint(values)
    # float64 holds integers up to 2⁵³; beyond, and where all agree, the clients' own are taken.
    result: Array = np.where(rounded <= lowest, lowest, highest)
    inside = (rounded > lowest) & (rounded < highest)
    result[inside] = rounded[inside].astype(base.dtype)
    return result
