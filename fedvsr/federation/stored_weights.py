"""Weights that lie in a store."""

from fedvsr.store.base import Store
from fedvsr.weights import WeightsFile


def open_weights(store: Store, key: str, digest: str) -> WeightsFile:
    """Opens a weights object whose SHA-256 a record names.

    Raises:
        fedvsr.errors.NotFoundError: There is no such object.
        fedvsr.errors.DataError: It has another digest, or is no whole weights file.
    """
    return WeightsFile(store.local(key, digest), f"{store.uri}/{key}")
