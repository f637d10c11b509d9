"""A client's encoded update, read as the client's weights."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedvsr.codecs.base import EncodedFile
from fedvsr.weights import Array, Chunk, Digest, Tensors, WeightsFile, join_chunks, serialize, specs_of


class DecodedUpdate:
    """Adds an encoded update to the global weights, chunk by chunk.

    Args:
        file: The encoded update.
        name: The file's name in an error.
        base: The global weights in full precision.
        sent: If the file holds weights: those that the client started from. If it holds differences: empty.
        folder: Where `part` may put a file. The caller removes it.

    Attributes:
        specs: Shape and dtype of each tensor.
    """

    def __init__(self, file: EncodedFile, name: str, base: Tensors, sent: Tensors, folder: Path) -> None:
        self.name = name
        self.specs = specs_of(base)
        self._file, self._base, self._sent = file, base, sent
        self._folder = folder
        self._decoded: WeightsFile | None = None

    def chunks(self, digest: Digest | None = None) -> Iterator[Chunk]:
        """Yields the client's weights in chunks.

        Args:
            digest: Is updated with every byte of the encoded file.

        Raises:
            fedvsr.errors.WeightsError: The file is damaged, or does not hold these tensors.
        """
        for chunk in self._file.chunks(digest):
            yield Chunk(chunk.name, chunk.start, self._as_weights(chunk))

    def part(self, key: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a flattened tensor, of shape (stop − start,).

        The first call decodes the whole update into a file.
        """
        if self._decoded is None:
            weights = serialize(dict(join_chunks(self.chunks(), self.specs)))
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(weights)
            self._decoded = WeightsFile(Path(file.name), self.name)
        return self._decoded.part(key, start, stop)

    def _as_weights(self, chunk: Chunk) -> Array:
        base = self._base[chunk.name]
        if not np.issubdtype(base.dtype, np.floating):
            return chunk.values
        elements = slice(chunk.start, chunk.stop)
        difference: Any = chunk.values
        if self._sent:
            difference = difference - self._sent[chunk.name].reshape(-1)[elements]
        # Values that overflow become infinite, and infinite values are refused.
        with np.errstate(over="ignore"):
            weights: Array = base.reshape(-1)[elements] + difference
        return weights.astype(base.dtype, copy=False)
