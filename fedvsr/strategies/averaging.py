"""Weighted means of updates.

Sums run in float64 and in the order of the clients' names, so that the bytes of the result depend
neither on the order of arrival nor on how many updates fit in memory.

Parameters and floating-point buffers, such as the running statistics of batch normalisation, are averaged.
Integer and boolean buffers are counters, tables or masks. Their mean is rounded to the nearest integer, ties
to even, and clipped to the clients' range. So a table that is the same at all clients does not change, even
if its numbers are too large for float64.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedvsr.strategies.updates import Updates
from fedvsr.weights import CHUNK_ELEMENTS, Array, Chunk


def weighted_mean(
    base: Mapping[str, Array],
    updates: Updates,
    weights: Mapping[str, float],
    *,
    server_learning_rate: float = 1.0,
) -> dict[str, Array]:
    """Returns the sum over clients of aggregation weight times tensor, in the dtypes of the base weights.

    Args:
        base: The base weights, with the names, shapes and dtypes of the result.
        updates: The clients' weights.
        weights: Each client's aggregation weight; they sum to 1.
        server_learning_rate: See `weighted_mean_by_tensor`.
    """
    return weighted_mean_by_tensor(
        base, updates, lambda client, _: weights[client], server_learning_rate=server_learning_rate
    )


def weighted_mean_by_tensor(
    base: Mapping[str, Array],
    updates: Updates,
    weight: Callable[[str, str], float],
    *,
    server_learning_rate: float = 1.0,
) -> dict[str, Array]:
    """Like `weighted_mean`, but with an aggregation weight for each client and tensor.

    Args:
        base: The base weights.
        updates: The clients' weights.
        weight: Returns the aggregation weight for a client's name and a tensor's name.
        server_learning_rate: Step of floating-point tensors from the base weights towards the mean; 1
            returns the mean.
    """
    sums: dict[str, NDArray[np.float64]] = {
        name: np.zeros(array.size, np.float64) for name, array in base.items()
    }
    ranges: dict[str, tuple[Array, Array]] = {}
    products = np.empty(CHUNK_ELEMENTS, np.float64)
    for client in updates.clients:
        for chunk in updates.chunks(client):
            product = products[: chunk.values.size]
            # Faster than a multiplication that casts, with the same bits.
            np.copyto(product, chunk.values)
            product *= weight(client, chunk.name)
            sums[chunk.name][chunk.start : chunk.stop] += product
            if not np.issubdtype(chunk.values.dtype, np.floating):
                _widen_range(ranges, base, chunk)
    result: dict[str, Array] = {}
    for name in list(sums):
        # Popping frees the float64 sums one by one, so they and the result are never in memory together.
        mean = sums.pop(name).reshape(base[name].shape)
        if server_learning_rate != 1 and name not in ranges:
            start = base[name].astype(np.float64)
            mean = start + server_learning_rate * (mean - start)
        result[name] = to_dtype_of(base[name], mean, ranges.get(name))
    return result


def by_coordinate(
    base: Mapping[str, Array],
    updates: Updates,
    centre: Callable[[Array], tuple[NDArray[np.float64], Array]],
) -> dict[str, Array]:
    """Returns a statistic of the clients' values, coordinate by coordinate, read piece by piece.

    Args:
        base: The base weights, with the names, shapes and dtypes of the result.
        updates: The clients' weights.
        centre: Takes the values (clients, elements) of a piece. Returns the statistic (elements,), and the
            values that it is of, with the clients in the first axis: integers are clipped to their range.
    """
    result: dict[str, Array] = {}
    for name, array in base.items():
        flat = np.empty(array.size, array.dtype)
        for piece, values in updates.pieces(name, array.size):
            statistic, used = centre(values)
            is_integer = not np.issubdtype(array.dtype, np.floating)
            within = (used.min(axis=0), used.max(axis=0)) if is_integer else None
            flat[piece] = to_dtype_of(array, statistic, within)
        result[name] = flat.reshape(array.shape)
    return result


def _widen_range(ranges: dict[str, tuple[Array, Array]], base: Mapping[str, Array], chunk: Chunk) -> None:
    """Widens a tensor's range, element by element, to include the values of a chunk."""
    if chunk.name not in ranges:
        shape, dtype = base[chunk.name].shape, chunk.values.dtype
        ranges[chunk.name] = (
            np.full(shape, _max_value(dtype), dtype),
            np.full(shape, _min_value(dtype), dtype),
        )
    lowest, highest = (bound.reshape(-1)[chunk.start : chunk.stop] for bound in ranges[chunk.name])
    np.minimum(lowest, chunk.values, out=lowest)
    np.maximum(highest, chunk.values, out=highest)


def _min_value(dtype: np.dtype[np.generic]) -> object:
    return False if dtype == np.bool_ else np.iinfo(dtype.name).min


def _max_value(dtype: np.dtype[np.generic]) -> object:
    return True if dtype == np.bool_ else np.iinfo(dtype.name).max


def to_dtype_of(base: Array, values: NDArray[np.float64], within: tuple[Array, Array] | None = None) -> Array:
    """Casts a mean or median to the base tensor's dtype.

    Args:
        base: The tensor that has the dtype.
        values: The mean or median, element by element.
        within: The smallest and the largest of the averaged values, in the base's dtype. Required if that is
            an integer or boolean dtype: then ``values`` are rounded and clipped to this range.
    """
    if within is None:
        return values.astype(base.dtype)
    lowest, highest = within
    rounded = np.rint(values)
    # Above 2⁵³ float64 is not exact. If all clients agree, this takes their own value.
    result: Array = np.where(rounded <= lowest, lowest, highest)
    inside = (rounded > lowest) & (rounded < highest)
    result[inside] = rounded[inside].astype(base.dtype)
    return result
