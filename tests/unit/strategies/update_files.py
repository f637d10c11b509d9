"""A round's updates as files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedvsr.store.base import bytes_digest
from fedvsr.strategies.updates import UpdateFile, Updates
from fedvsr.weights import WeightsFile, serialize


def open_updates(paths: Mapping[str, Path], tensors: Mapping[str, Mapping[str, np.ndarray]]) -> Updates:
    """Writes each client's tensors as a weights file and opens the files as a round's updates."""
    files = {}
    for client, path in paths.items():
        data = serialize(tensors[client])
        path.write_bytes(data)
        files[client] = UpdateFile(client, 1, WeightsFile(path, f"update of {client}"), bytes_digest(data))
    return Updates(files)
