"""Squared distances between the clients' updates.

The distance of two updates is the L2 norm of their difference over the elements of all floating-point
tensors. Integer and boolean buffers have no distance, as they have no norm.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import UpdateError
from fedvsr.strategies.base import RoundUpdates
from fedvsr.weights import CHUNK_ELEMENTS, Array


def squared_distances(updates: RoundUpdates) -> NDArray[np.float64]:
    """Returns the squared distance of each pair of clients.

    The updates are read piece by piece, so memory does not grow with the model. Differences are taken in
    float64 before they are squared: equal updates have the distance 0, and a small distance between large
    weights does not cancel, as it does in ‖a‖² + ‖b‖² − 2·a·b.

    Args:
        updates: The round's updates.

    Returns:
        A symmetric array (clients, clients), in the order of the clients' names.

    Raises:
        fedvsr.errors.UpdateError: An update is damaged, has a value that is not finite, or is so far from the
            others that float64 cannot hold the squared distance.
    """
    count = len(updates.updates.clients)
    squares = np.zeros((count, count), np.float64)
    buffer = np.empty(CHUNK_ELEMENTS, np.float64)
    for name, array in updates.base.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        for _, piece in updates.updates.pieces(name, array.size):
            for start in range(0, piece.shape[1], CHUNK_ELEMENTS):
                _add_squares(squares, piece[:, start : start + CHUNK_ELEMENTS], buffer)
    squares += squares.T
    far = np.count_nonzero(~np.isfinite(squares), axis=1)
    if far.any():
        # The one that is far from most others.
        client = updates.updates.clients[int(np.argmax(far))]
        reason = "its distance from other updates is beyond the range of float64"
        raise UpdateError(client, updates.context.round_number, reason)
    return squares


def _add_squares(squares: NDArray[np.float64], values: Array, buffer: NDArray[np.float64]) -> None:
    rows = values.astype(np.float64)
    difference = buffer[: rows.shape[1]]
    for first, second in combinations(range(len(rows)), 2):
        np.subtract(rows[first], rows[second], out=difference)
        # Not a BLAS product, whose last bits depend on the number of threads.
        squares[first, second] += np.einsum("i,i->", difference, difference)
