"""Squared distances between the clients' updates.

The distance of two updates is the L2 norm of their difference over the elements of all floating-point
tensors. Integer and boolean buffers have no distance, as they have no norm.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedvsr.strategies.updates import Updates
from fedvsr.weights import CHUNK_ELEMENTS, Array


def squared_distances(base: Mapping[str, Array], updates: Updates) -> NDArray[np.float64]:
    """Returns the squared distance of each pair of clients.

    The updates are read piece by piece, so memory does not grow with the model. Differences are taken in
    float64 before they are squared: equal updates have the distance 0, and a small distance between large
    weights does not cancel, as it does in ‖a‖² + ‖b‖² − 2·a·b.

    Args:
        base: The base weights, with the tensors' names and dtypes.
        updates: The clients' weights.

    Returns:
        A symmetric array (clients, clients), in the order of the clients' names. An element is infinite if
        float64 cannot hold it.

    Raises:
        fedvsr.errors.UpdateError: An update is damaged, or has a value that is not finite.
    """
    count = len(updates.clients)
    squares = np.zeros((count, count), np.float64)
    buffer = np.empty(CHUNK_ELEMENTS, np.float64)
    for name, array in base.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        for _, piece in updates.pieces(name, array.size):
            for start in range(0, piece.shape[1], CHUNK_ELEMENTS):
                _add_squares(squares, piece[:, start : start + CHUNK_ELEMENTS], buffer)
    return squares + squares.T


def _add_squares(squares: NDArray[np.float64], values: Array, buffer: NDArray[np.float64]) -> None:
    rows = values.astype(np.float64)
    difference = buffer[: rows.shape[1]]
    for first, second in combinations(range(len(rows)), 2):
        np.subtract(rows[first], rows[second], out=difference)
        # Not a BLAS product, whose last bits depend on the number of threads.
        squares[first, second] += np.einsum("i,i->", difference, difference)
