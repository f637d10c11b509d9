"""Codecs whose file is one compressed stream.

The file is a safetensors file with one uint8 tensor, whose name is the codec's. The tensor is a zstd frame of
all tensors in the order of their names, each in segments of at most `fedvsr.weights.CHUNK_ELEMENTS` elements.
A segment of a floating-point tensor is the blocks that the codec makes of it. A segment of another tensor is
its elements, little-endian.

All sizes follow from the tensors' shapes. So the file needs no directory, and a reader knows in advance how
many bytes the frame expands to.
"""

import io
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from fedvsr.codecs.base import Codec, EncodedFile
from fedvsr.errors import WeightsError
from fedvsr.weights import CHUNK_ELEMENTS, Array, Chunk, Digest, TensorSpec, WeightsFile, serialize

# Higher levels search longer for repeated strings, and rounded values have none.
_LEVEL = 1
# Limits a reader's memory. The compressor's own windows are smaller.
_MAX_WINDOW_BYTES = 8 << 20

Bytes = NDArray[np.uint8]


class SegmentCoder(ABC):
    """Encodes or decodes the floating-point segments of one file, in order."""

    @abstractmethod
    def block_sizes(self, count: int) -> tuple[int, ...]:
        """Returns the sizes in bytes of the blocks of a segment with ``count`` values."""

    @abstractmethod
    def encode(self, values: NDArray[np.float32]) -> tuple[Bytes, ...]:
        """Returns the blocks of a segment with ``values``, (count,).

        Raises:
            OverflowError: A value is not finite, or too large.
        """

    @abstractmethod
    def decode(self, blocks: Sequence[Bytes], count: int) -> NDArray[np.float32]:
        """Returns the values of a segment, (count,).

        Raises:
            OverflowError: A value or a scale is not finite.
        """


class StreamCodec(Codec):
    """A codec whose file is one compressed stream of segments."""

    @abstractmethod
    def make_coder(self, seed: int) -> SegmentCoder:
        """Returns the coder of one file."""

    def encode(self, tensors: Iterable[tuple[str, Array]], seed: int) -> bytes:
        coder = self.make_coder(seed)
        compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        frame = bytearray()
        for name, array in tensors:
            for start, count in segments(array.size):
                segment = array.reshape(-1)[start : start + count]
                for block in self._encode_segment(name, segment, coder):
                    frame += compressor.compress(block.data)
                    # Blocks of different kinds of numbers get different codes.
                    frame += compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        frame += compressor.flush()
        return serialize({self.name: np.frombuffer(frame, np.uint8)})

    def _encode_segment(self, name: str, segment: Array, coder: SegmentCoder) -> tuple[Bytes, ...]:
        if not np.issubdtype(segment.dtype, np.floating):
            return (np.ascontiguousarray(segment, _little_endian(segment.dtype)).view(np.uint8),)
        try:
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(segment, np.float32)
            return coder.encode(values)
        except OverflowError as error:
            raise WeightsError(f"tensor {name!r} cannot be encoded as {self.name}: {error}") from None

    def open(self, path: Path, specs: Mapping[str, TensorSpec], seed: int, name: str) -> EncodedFile:
        return _StreamFile(self, path, specs, seed, name)


class _StreamFile:
    """The file of a `StreamCodec`, open for reading."""

    def __init__(
        self, codec: StreamCodec, path: Path, specs: Mapping[str, TensorSpec], seed: int, name: str
    ) -> None:
        self._codec, self._specs, self._seed = codec, dict(sorted(specs.items())), seed
        self._file = WeightsFile(path, name)
        tensors = self._file.specs
        stream = tensors.get(codec.name)
        if len(tensors) != 1 or stream is None or stream.dtype != np.uint8:
            others = ", ".join(map(repr, tensors)) or "none"
            raise WeightsError(
                f"{name}: expected the codec {codec.name}, whose file has one uint8 tensor {codec.name!r}; "
                f"found the tensors {others}"
            )

    def chunks(self, digest: Digest | None = None) -> Iterator[Chunk]:
        compressed = self._file.chunks(digest)
        reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(
            cast("IO[bytes]", _ChunkReader(compressed)), read_across_frames=False
        )
        coder = self._codec.make_coder(self._seed)
        try:
            for name, spec in self._specs.items():
                for start, count in segments(spec.size):
                    blocks = [self._read(reader, size) for size in _block_sizes(spec, count, coder)]
                    yield Chunk(name, start, self._decode_segment(name, spec, blocks, count, coder))
            if reader.read(1):
                raise WeightsError(f"{self._file.name}: expands beyond the size of the model")
        except zstandard.ZstdError as error:
            raise WeightsError(f"{self._file.name}: its stream is damaged ({error})") from None
        finally:
            # The digest covers the bytes after the frame too.
            deque(compressed, maxlen=0)

    def _read(self, reader: zstandard.ZstdDecompressionReader, size: int) -> Bytes:
        block = bytearray(size)
        view = memoryview(block)
        while view:
            count = reader.readinto(view)
            if not count:
                raise WeightsError(f"{self._file.name}: its stream ends before the model is complete")
            view = view[count:]
        return np.frombuffer(block, np.uint8)

    def _decode_segment(
        self, name: str, spec: TensorSpec, blocks: Sequence[Bytes], count: int, coder: SegmentCoder
    ) -> Array:
        if not np.issubdtype(spec.dtype, np.floating):
            return blocks[0].view(_little_endian(spec.dtype)).astype(spec.dtype, copy=False)
        try:
            return coder.decode(blocks, count)
        except OverflowError as error:
            raise WeightsError(f"tensor {name!r}: {error}") from None


class _ChunkReader(io.RawIOBase):
    """Reads the bytes of a uint8 tensor from its chunks."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk.values.data.cast("B")
        part, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return part


def segments(size: int) -> Iterator[tuple[int, int]]:
    """Yields the first element and the number of elements of each segment of a tensor."""
    for start in range(0, size, CHUNK_ELEMENTS):
        yield start, min(CHUNK_ELEMENTS, size - start)


def _block_sizes(spec: TensorSpec, count: int, coder: SegmentCoder) -> tuple[int, ...]:
    if np.issubdtype(spec.dtype, np.floating):
        return coder.block_sizes(count)
    return (count * spec.dtype.itemsize,)


def _little_endian(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    return dtype.newbyteorder("<")
