"""Weights as safetensors files.

A file holds a model's whole state dict, parameters and buffers, sorted by name. It carries no
metadata: safetensors writes metadata in random order, and the same weights must give the same
bytes. The record that names the file and its SHA-256 says what the weights are.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as parse
from safetensors.numpy import save

from fedvsr.errors import WeightsError

Array = NDArray[np.generic]
Tensors = Mapping[str, Array]

# A chunk, its product in float64 and the sums that it is added to fit together in a core's cache.
CHUNK_ELEMENTS = 1 << 16
_MAX_ITEM_BYTES = 8

# safetensors' names of the dtypes that NumPy has too.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


class Digest(Protocol):
    """An object that is updated with bytes, like the result of `hashlib.sha256`."""

    def update(self, data: bytes | memoryview, /) -> None: ...


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's shape and NumPy dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.size * self.dtype.itemsize


def serialize(tensors: Tensors) -> bytes:
    """Returns the bytes of a weights file. They do not depend on the order of the tensors."""
    # np.ascontiguousarray would add a dimension to a tensor without dimensions.
    return save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})


def load(data: bytes, name: str) -> dict[str, Array]:
    """Parses the bytes of a weights file and returns its tensors, sorted by name.

    Args:
        data: The bytes.
        name: The name of the weights in an error.

    Raises:
        fedvsr.errors.WeightsError: The bytes are not a complete safetensors file, or a tensor has a dtype
            that NumPy lacks.
    """
    try:
        tensors: dict[str, Array] = parse(data)
    except SafetensorError as error:
        raise WeightsError(_incomplete(name, error)) from error
    except KeyError as error:
        raise WeightsError(_unknown_dtype(name, str(error))) from error
    for key, array in tensors.items():
        if array.dtype.name not in _DTYPES.values():
            raise WeightsError(_unknown_dtype(name, array.dtype.name, key))
    return dict(sorted(tensors.items()))


@dataclass(frozen=True)
class Chunk:
    """Consecutive elements of a tensor.

    Attributes:
        name: The tensor's name.
        start: Index of the first element in the flattened tensor.
        values: The elements, of shape (n,). Reading the next chunk overwrites them.
    """

    name: str
    start: int
    values: Array

    @property
    def stop(self) -> int:
        """Index after the last element in the flattened tensor."""
        return self.start + self.values.size


class TensorSource(Protocol):
    """Tensors that are read piece by piece.

    Attributes:
        name: What an error calls them.
        specs: Shape and dtype of each tensor.
    """

    name: str
    specs: dict[str, TensorSpec]

    def chunks(self, digest: Digest | None = None) -> Iterator[Chunk]:
        """Yields all tensors in chunks, and updates ``digest`` with every byte of the file behind them."""
        ...

    def part(self, key: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a flattened tensor, of shape (stop − start,)."""
        ...


class WeightsFile:
    """Reads a weights file piece by piece.

    The constructor reads the header. Nothing stays memory-mapped between two reads, so reading many files
    one after the other takes the memory of one.

    Args:
        path: The file.
        name: The file's name in an error; the path if empty.

    Attributes:
        specs: Shape and dtype of each tensor, sorted by name.

    Raises:
        fedvsr.errors.WeightsError: The file does not exist, is not a complete safetensors file, or has a
            tensor with a dtype that NumPy lacks.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or str(path)
        specs: dict[str, TensorSpec] = {}
        with self._open() as file:
            for key in file.offset_keys():
                tensor = file.get_slice(key)
                dtype = _DTYPES.get(tensor.get_dtype())
                if dtype is None:
                    raise WeightsError(_unknown_dtype(self.name, tensor.get_dtype(), key))
                specs[key] = TensorSpec(tuple(tensor.get_shape()), np.dtype(dtype))
        self.specs = dict(sorted(specs.items()))
        # safetensors has checked that the tensors fill the rest of the file after the header without gaps.
        offset = path.stat().st_size - sum(spec.nbytes for spec in specs.values())
        self._header_bytes = offset
        self._offsets: dict[str, int] = {}
        for key, spec in specs.items():
            self._offsets[key] = offset
            offset += spec.nbytes

    def chunks(self, digest: "Digest | None" = None) -> Iterator[Chunk]:
        """Yields all tensors in chunks of at most `CHUNK_ELEMENTS`, in the order of the file.

        Args:
            digest: Is updated with every byte of the file; for example ``hashlib.sha256()``.

        Raises:
            fedvsr.errors.WeightsError: The file was cut short since it was opened.
        """
        buffer = bytearray(CHUNK_ELEMENTS * _MAX_ITEM_BYTES)
        with self.path.open("rb", buffering=0) as file:
            if digest is not None:
                digest.update(file.read(self._header_bytes))
            else:
                file.seek(self._header_bytes)
            for key in self._offsets:
                spec = self.specs[key]
                for start in range(0, spec.size, CHUNK_ELEMENTS):
                    count = min(CHUNK_ELEMENTS, spec.size - start)
                    view = memoryview(buffer)[: count * spec.dtype.itemsize]
                    self._fill(file, view)
                    if digest is not None:
                        digest.update(view)
                    yield Chunk(key, start, np.frombuffer(view, spec.dtype))

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yields each tensor's name and a newly allocated array, in the order of the file."""
        return join_chunks(self.chunks(), self.specs)

    def part(self, key: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a flattened tensor, of shape (stop − start,)."""
        dtype = self.specs[key].dtype
        values = np.empty(stop - start, dtype)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._offsets[key] + start * dtype.itemsize)
            self._fill(file, values.view(np.uint8).data)
        return values

    def load(self) -> dict[str, Array]:
        """Returns all tensors, newly allocated, sorted by name."""
        return dict(sorted(self.tensors()))

    def _fill(self, file: RawIOBase, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            count = file.readinto(view[filled:])
            if not count:
                raise WeightsError(f"{self.name}: was cut short while it was read; fetch or write it again")
            filled += count

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="numpy")
        except FileNotFoundError:
            raise WeightsError(f"{self.name}: no such file") from None
        except OSError as error:
            raise WeightsError(f"{self.name}: cannot be read ({error})") from error
        except SafetensorError as error:
            raise WeightsError(_incomplete(self.name, error)) from error


def join_chunks(chunks: Iterable[Chunk], specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, Array]]:
    """Joins all chunks of a file and yields each tensor's name and a newly allocated array."""
    values: Array | None = None
    for name, spec in specs.items():
        if not spec.size:
            yield name, np.empty(spec.shape, spec.dtype)
    for chunk in chunks:
        spec = specs[chunk.name]
        if values is None:
            values = np.empty(spec.size, spec.dtype)
        values[chunk.start : chunk.stop] = chunk.values
        if chunk.stop == spec.size:
            yield chunk.name, values.reshape(spec.shape)
            values = None


def _incomplete(name: str, error: Exception) -> str:
    return f"{name}: not a whole safetensors file ({error}); fetch or write it again"


def _unknown_dtype(name: str, dtype: str, tensor: str = "") -> str:
    subject = f"tensor {tensor!r}" if tensor else "a tensor"
    return f"{name}: {subject} has dtype {dtype}; weights travel as one of {', '.join(_DTYPES)}"


def find_misfit(actual: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> str | None:
    """Describes the first difference in names, shapes or dtypes; None if there is none."""
    for name in sorted(expected.keys() - actual.keys()):
        return f"tensor {name!r} is missing"
    for name in sorted(actual.keys() - expected.keys()):
        return f"tensor {name!r} is not in the model"
    for name in sorted(expected):
        if actual[name] != expected[name]:
            return f"tensor {name!r}: expected {expected[name]}, found {actual[name]}"
    return None


def specs_of(tensors: Tensors) -> dict[str, TensorSpec]:
    """Returns the shape and dtype of each tensor."""
    return {name: TensorSpec(array.shape, array.dtype) for name, array in tensors.items()}
