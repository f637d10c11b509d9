"""The tensors as they are."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from fedvsr.codecs.base import Codec, EncodedFile
from fedvsr.errors import WeightsError
from fedvsr.weights import Array, TensorSpec, WeightsFile, find_misfit, serialize


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
        return file
