"""The tensors as they are."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedvsr.codecs.base import Codec, EncodedFile
from fedvsr.errors import WeightsError
from fedvsr.weights import Array, Chunk, Digest, TensorSpec, WeightsFile, find_misfit, serialize

# Two files with the same tensors may have headers of different sizes.
_HEADER_BYTES = 1 << 20


class Float32(Codec):
    """Sends weights exactly, in their own dtypes."""

    name = "float32"
    description = "the weights as they are: 4 bytes per parameter"
    encodes_differences = False
    downloads = True

    def encode(self, tensors: Iterable[tuple[str, Array]], seed: int) -> bytes:
        return serialize(dict(tensors))

    def open(self, path: Path, specs: Mapping[str, TensorSpec], seed: int, name: str) -> EncodedFile:
        file = WeightsFile(path, name)
        problem = find_misfit(file.specs, specs)
        if problem:
            raise WeightsError(problem)
        return _ExactFile(file)

    def max_bytes(self, specs: Mapping[str, TensorSpec]) -> int:
        return sum(spec.nbytes for spec in specs.values()) + _HEADER_BYTES


class _ExactFile:
    def __init__(self, file: WeightsFile) -> None:
        self._file = file

    def chunks(self, digest: Digest | None = None) -> Iterator[Chunk]:
        return self._file.chunks(digest)
