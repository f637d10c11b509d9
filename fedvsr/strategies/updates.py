"""The clients' updates of a round, read from disk in chunks and verified as they are read."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedvsr.errors import UpdateError
from fedvsr.text import printable
from fedvsr.weights import Array, Chunk, TensorSpec, WeightsFile, join_chunks

# The most that one piece of all clients together takes, in bytes.
_PIECE_BYTES = 16 << 20


class UpdateFile:
    """One file of a client's update: its weights, or its strategy tensors.

    Opening it reads the header. The first complete read verifies the rest in the same pass: the file has
    the digest that the report names, and every floating-point value is finite.

    Args:
        client: The client's name.
        round_number: The round.
        path: The file.
        digest: The SHA-256 that the client's report names.
        name: How to call the file in an error.

    Raises:
        fedvsr.errors.WeightsError: It is no whole safetensors file, or has a dtype NumPy lacks.
    """

    def __init__(self, client: str, round_number: int, path: Path, digest: str, name: str) -> None:
        self._client, self._round_number = client, round_number
        self._file = WeightsFile(path, name)
        self._digest = digest
        self._verified = False

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of each tensor."""
        return self._file.specs

    def chunks(self) -> Iterator[Chunk]:
        """Yields all tensors in chunks; see `fedvsr.weights.WeightsFile.chunks`.

        What was computed from the chunks counts only if the iteration ends without an error.

        Raises:
            fedvsr.errors.UpdateError: The file has another digest or a value that is not finite.
        """
        if self._verified:
            yield from self._file.chunks()
            return
        digest = hashlib.sha256()
        chunks = self._file.chunks(digest)
        for chunk in chunks:
            if not _is_finite(chunk.values):
                for _ in chunks:
                    """The digest needs the rest: a damaged file says more than its values do."""
                self._check_digest(digest.hexdigest())
                raise self._refused(self._not_finite(chunk.name))
            yield chunk
        self._check_digest(digest.hexdigest())
        self._verified = True

    def verify(self) -> None:
        """Reads the file to its end if that has not been done.

        Raises:
            fedvsr.errors.UpdateError: The file has another digest or a value that is not finite.
        """
        if not self._verified:
            for _ in self.chunks():
                """Reading verifies."""

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yields every tensor; raises as `chunks` does."""
        return join_chunks(self.chunks(), self.specs)

    def part(self, name: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a flattened tensor."""
        return self._file.part(name, start, stop)

    def _check_digest(self, digest: str) -> None:
        if digest != self._digest:
            raise self._refused(
                f"{self._file.name}: expected SHA-256 {self._digest}, found {digest}; "
                "the object was changed or cut short"
            )

    def _not_finite(self, name: str) -> str:
        spec = self.specs[name]
        values = self._file.part(name, 0, spec.size)
        return f"tensor {name!r}: {describe_not_finite(values)}"

    def _refused(self, reason: str) -> UpdateError:
        # Names of tensors are the client's own words.
        return UpdateError(self._client, self._round_number, printable(reason))


class Updates:
    """Files of all clients, in the order of the clients' names whatever order they came in.

    However many there are, one chunk of one client, or one piece of a tensor of all clients, is in
    memory at a time.

    Args:
        files: The file of each client.
    """

    def __init__(self, files: Mapping[str, UpdateFile]) -> None:
        self._files = {client: files[client] for client in sorted(files)}

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names, sorted."""
        return tuple(self._files)

    def names(self, client: str) -> frozenset[str]:
        """Returns the names of one client's tensors."""
        return frozenset(self._files[client].specs)

    def chunks(self, client: str) -> Iterator[Chunk]:
        """Yields one client's tensors in chunks; see `UpdateFile.chunks`."""
        return self._files[client].chunks()

    def tensors(self, client: str) -> Iterator[tuple[str, Array]]:
        """Yields one client's tensors; see `UpdateFile.chunks`."""
        return self._files[client].tensors()

    def pieces(self, name: str, size: int) -> Iterator[tuple[slice, Array]]:
        """Yields a tensor of all clients piece by piece.

        Args:
            name: The tensor's name.
            size: Its number of elements.

        Yields:
            The piece's place in the flattened tensor, and an array (clients, elements).

        Raises:
            fedvsr.errors.UpdateError: A file has another digest or a value that is not finite.
        """
        for file in self._files.values():
            file.verify()
        length = max(1, _PIECE_BYTES // (8 * len(self._files)))
        for start in range(0, size, length):
            stop = min(start + length, size)
            yield (
                slice(start, stop),
                np.stack([file.part(name, start, stop) for file in self._files.values()]),
            )


def describe_not_finite(values: Array) -> str | None:
    """Returns what is wrong with a tensor that has values that are not finite, or None."""
    if _is_finite(values):
        return None
    return f"expected finite values, found {int(np.count_nonzero(~np.isfinite(values)))} that are not"


def _is_finite(values: Array) -> bool:
    return not np.issubdtype(values.dtype, np.floating) or bool(np.isfinite(values).all())
