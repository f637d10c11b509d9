"""The clients' updates of a round, read from disk in chunks and verified as they are read."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from fedvsr.errors import UpdateError, WeightsError
from fedvsr.text import printable
from fedvsr.weights import Array, Chunk, TensorSource, TensorSpec, join_chunks

# Maximum size of one piece of all clients together, in bytes.
_PIECE_BYTES = 16 << 20


class UpdateSource(Protocol):
    """The tensors of one client, verified as they are read; see `UpdateFile`."""

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of each tensor."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Yields all tensors in chunks, and verifies them."""
        ...

    def verify(self) -> None:
        """Verifies the tensors, unless that has been done."""
        ...

    def part(self, name: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a flattened tensor."""
        ...


class UpdateFile:
    """One file of a client's update: its weights, or its strategy tensors.

    The first complete read verifies the file: it must have the digest that the report names, and every
    floating-point value must be finite.

    Args:
        client: The client's name.
        round_number: The round.
        file: The file, open for reading.
        digest: The SHA-256 that the client's report names.
    """

    def __init__(self, client: str, round_number: int, file: TensorSource, digest: str) -> None:
        self._client, self._round_number = client, round_number
        self._file = file
        self._digest = digest
        self._verified = False

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of each tensor."""
        return self._file.specs

    def chunks(self) -> Iterator[Chunk]:
        """Yields all tensors in chunks; see `fedvsr.weights.WeightsFile.chunks`.

        A result computed from the chunks is valid only if the iteration ends without an error.

        Raises:
            fedvsr.errors.UpdateError: The file's digest differs from the report's, it cannot be decoded, or a
                value is not finite.
        """
        if self._verified:
            yield from self._file.chunks()
            return
        digest = hashlib.sha256()
        chunks = self._file.chunks(digest)
        # A damaged file is reported as damaged, whatever its values are.
        try:
            for chunk in chunks:
                if not _is_finite(chunk.values):
                    _read_to_end(chunks)
                    self._check_digest(digest.hexdigest())
                    raise self._refusal(self._describe_non_finite(chunk.name))
                yield chunk
        except WeightsError as error:
            self._check_digest(digest.hexdigest())
            raise self._refusal(str(error)) from None
        self._check_digest(digest.hexdigest())
        self._verified = True

    def verify(self) -> None:
        """Verifies the file by reading it to its end, unless that has been done.

        Raises:
            fedvsr.errors.UpdateError: The file's digest differs from the report's, or a value is not finite.
        """
        if not self._verified:
            _read_to_end(self.chunks())

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yields every tensor; raises as `chunks` does."""
        return join_chunks(self.chunks(), self.specs)

    def part(self, name: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a flattened tensor."""
        return self._file.part(name, start, stop)

    def _check_digest(self, digest: str) -> None:
        if digest != self._digest:
            raise self._refusal(
                f"{self._file.name}: expected SHA-256 {self._digest}, found {digest}; "
                "the object was changed or cut short"
            )

    def _describe_non_finite(self, name: str) -> str:
        spec = self.specs[name]
        values = self._file.part(name, 0, spec.size)
        return f"tensor {name!r}: {find_non_finite(values)}"

    def _refusal(self, reason: str) -> UpdateError:
        # The client chose the tensors' names.
        return UpdateError(self._client, self._round_number, printable(reason))


class Updates:
    """The files of all clients, sorted by the clients' names.

    Memory holds one chunk of one client, or one piece of a tensor of all clients, whatever the number of
    clients.

    Args:
        files: The file of each client.

    Attributes:
        files: The file of each client, in the order of the names.
    """

    def __init__(self, files: Mapping[str, UpdateSource]) -> None:
        self.files = {client: files[client] for client in sorted(files)}

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names, sorted."""
        return tuple(self.files)

    def names(self, client: str) -> frozenset[str]:
        """Returns the names of one client's tensors."""
        return frozenset(self.files[client].specs)

    def chunks(self, client: str) -> Iterator[Chunk]:
        """Yields one client's tensors in chunks; see `UpdateFile.chunks`."""
        return self.files[client].chunks()

    def tensors(self, client: str) -> Iterator[tuple[str, Array]]:
        """Yields one client's tensors; see `UpdateFile.tensors`."""
        return join_chunks(self.chunks(client), self.files[client].specs)

    def pieces(self, name: str, size: int) -> Iterator[tuple[slice, Array]]:
        """Yields a tensor of all clients piece by piece.

        Args:
            name: The tensor's name.
            size: Number of its elements.

        Yields:
            The piece's slice of the flattened tensor, and an array (clients, elements).

        Raises:
            fedvsr.errors.UpdateError: A file's digest differs from its report's, or a value is not finite.
        """
        for file in self.files.values():
            file.verify()
        length = max(1, _PIECE_BYTES // (8 * len(self.files)))
        for start in range(0, size, length):
            stop = min(start + length, size)
            yield (
                slice(start, stop),
                np.stack([file.part(name, start, stop) for file in self.files.values()]),
            )


def _read_to_end(chunks: Iterator[Chunk]) -> None:
    deque(chunks, maxlen=0)


def find_non_finite(values: Array) -> str | None:
    """Describes a tensor's NaN and infinite values for an error; None if all values are finite."""
    if _is_finite(values):
        return None
    return f"expected finite values, found {int(np.count_nonzero(~np.isfinite(values)))} that are not"


def first_non_finite(tensors: Mapping[str, Array]) -> str | None:
    """Describes the first tensor with NaN or infinite values for an error; None if all values are finite."""
    for name, array in tensors.items():
        problem = find_non_finite(array)
        if problem:
            return f"tensor {name!r}: {problem}"
    return None


def _is_finite(values: Array) -> bool:
    return not np.issubdtype(values.dtype, np.floating) or bool(np.isfinite(values).all())
