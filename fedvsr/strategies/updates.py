"""The clients' updates of a round, on disk, read a piece at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedvsr.weights import Array, WeightsFile

# What one piece of all clients together may take, in bytes.
_PIECE_BYTES = 16 << 20


class Updates:
    """Weights files by client, in the order of the clients' names whatever order they came in.

    However many there are, one tensor of one client, or one piece of a tensor of all clients, is in
    memory at a time.

    Args:
        paths: The weights file of each client.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._files = {client: WeightsFile(paths[client], f"update of {client}") for client in sorted(paths)}

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names, sorted."""
        return tuple(self._files)

    def names(self, client: str) -> frozenset[str]:
        """The names of one client's tensors."""
        return frozenset(self._files[client].specs)

    def tensors(self, client: str) -> Iterator[tuple[str, Array]]:
        """Yields one client's tensors, in the order of their names."""
        return self._files[client].tensors()

    def pieces(self, name: str, size: int) -> Iterator[tuple[slice, Array]]:
        """Yields a tensor of all clients piece by piece.

        Args:
            name: The tensor's name.
            size: Its number of elements.

        Yields:
            Where the piece lies in the flat tensor, and an array (clients, elements).
        """
        length = max(1, _PIECE_BYTES // (8 * len(self._files)))
        for start in range(0, size, length):
            stop = min(start + length, size)
            yield (
                slice(start, stop),
                np.stack([file.part(name, start, stop) for file in self._files.values()]),
            )
