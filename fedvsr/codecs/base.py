"""The base class of codecs.

A codec turns tensors into the bytes of a safetensors file, and reads them back chunk by chunk. What the
tensors are is the caller's business: weights on the way down, differences from them on the way up.

A built-in codec is one file and one line in `fedvsr.codecs.registry`. A package provides another one through
an entry point of the group ``fedvsr.codecs``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from fedvsr.weights import Array, Chunk, Digest, TensorSpec


class EncodedFile(Protocol):
    """The file of a codec, open for reading."""

    def chunks(self, digest: Digest | None = None) -> Iterator[Chunk]:
        """Yields all tensors in chunks, each tensor's chunks in order.

        Floating-point tensors come in the codec's own precision, other tensors exactly as they were.

        Args:
            digest: Is updated with every byte of the file.

        Raises:
            fedvsr.errors.WeightsError: The file is damaged, or its tensors are not those of ``specs``.
        """
        ...


class Codec(ABC):
    """Encodes the floating-point tensors of a model; integer and boolean buffers stay exact.

    Attributes:
        name: Its name in the registry.
        description: What it is, in one line.
        source: The paper (authors, title, venue and link); empty if there is none.
        encodes_differences: Whether an update is encoded as the difference from the weights that the client
            was sent; False: as the weights themselves.
        downloads: Whether global weights may be sent with it.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    source: ClassVar[str] = ""
    encodes_differences: ClassVar[bool] = True
    downloads: ClassVar[bool] = False

    @abstractmethod
    def encode(self, tensors: Iterable[tuple[str, Array]], seed: int) -> bytes:
        """Returns the bytes of a file with the tensors.

        The same tensors and seed give the same bytes.

        Args:
            tensors: Name and array of each tensor, sorted by name.
            seed: Seed of the codec's random choices, at least 0. The file can only be read with it.

        Raises:
            fedvsr.errors.WeightsError: A value is not finite, or too large for the codec.
        """

    @abstractmethod
    def open(self, path: Path, specs: Mapping[str, TensorSpec], seed: int, name: str) -> EncodedFile:
        """Opens a file and checks its header.

        Args:
            path: The file.
            specs: Shape and dtype of each tensor that the file must have.
            seed: The seed that the file was encoded with.
            name: The file's name in an error.

        Raises:
            fedvsr.errors.WeightsError: The file is not complete, is of another codec, or cannot hold these
                tensors.
        """
