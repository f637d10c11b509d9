"""Weights as safetensors files.

A file holds a model's whole state dict, parameters and buffers, sorted by name. It carries no
metadata: safetensors writes metadata in random order, and the same weights must give the same
bytes. What is known of the weights stands in the record that names the file and its SHA-256.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedvsr.errors import WeightsError

Array = NDArray[np.generic]
Tensors = Mapping[str, Array]

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


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's shape and NumPy dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def serialize(tensors: Tensors) -> bytes:
    """Returns the bytes of a weights file: the same bytes for the same tensors, in any order."""
    # Not np.ascontiguousarray, which turns a tensor without dimensions into one with one.
    return save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})


class WeightsFile:
    """Reads a weights file tensor by tensor.

    Nothing stays mapped between two reads, so going through many files costs the memory of one.

    Args:
        path: The file.
        name: How to call it in an error; the path when empty.

    Raises:
        fedvsr.errors.WeightsError: It is no whole safetensors file, or has a dtype NumPy lacks.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or str(path)
        self.specs: dict[str, TensorSpec] = {}
        with self._file() as file:
            for key in sorted(file.keys()):
                found = file.get_slice(key)
                dtype = _DTYPES.get(found.get_dtype())
                if dtype is None:
                    raise WeightsError(
                        f"{self.name}: tensor {key!r} has dtype {found.get_dtype()}; "
                        f"weights travel as one of {', '.join(_DTYPES)}"
                    )
                self.specs[key] = TensorSpec(tuple(found.get_shape()), np.dtype(dtype))

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yields every tensor, in the order of the names."""
        with self._file() as file:
            for key in self.specs:
                yield key, file.get_tensor(key)

    def part(self, key: str, start: int, stop: int) -> Array:
        """Returns elements ``start`` to ``stop`` of a tensor that is seen as flat."""
        with self._file() as file:
            shape = self.specs[key].shape
            if not shape or start >= stop:
                return np.array(file.get_tensor(key)).reshape(-1)[start:stop]
            # Whole rows are what a slice can take without reading the tensor. What is returned is a
            # copy, so that a piece of a long row does not keep the row.
            row = math.prod(shape[1:])
            rows = np.asarray(file.get_slice(key)[start // row : -(-stop // row)])
            first = start % row
            return rows.reshape(-1)[first : first + stop - start].copy()

    def load(self) -> dict[str, Array]:
        """Returns every tensor in memory of its own."""
        return dict(self.tensors())

    def _file(self) -> Any:
        try:
            return safe_open(self.path, framework="numpy")
        except FileNotFoundError:
            raise WeightsError(f"{self.name}: no such file") from None
        except OSError as error:
            raise WeightsError(f"{self.name}: cannot be read ({error})") from error
        except SafetensorError as error:
            raise WeightsError(
                f"{self.name}: not a whole safetensors file ({error}); fetch or write it again"
            ) from error


def check_fit(found: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> str | None:
    """Says the first way in which tensors differ from what is expected, or None if they fit.

    Names, shapes and dtypes count, values do not.
    """
    for name in sorted(expected.keys() - found.keys()):
        return f"tensor {name!r} is missing"
    for name in sorted(found.keys() - expected.keys()):
        return f"tensor {name!r} is not in the model"
    for name in sorted(expected):
        if found[name] != expected[name]:
            return f"tensor {name!r}: expected {expected[name]}, found {found[name]}"
    return None


def specs_of(tensors: Tensors) -> dict[str, TensorSpec]:
    """Returns the shape and dtype of each tensor."""
    return {name: TensorSpec(array.shape, array.dtype) for name, array in tensors.items()}
