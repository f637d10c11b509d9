"""Unsigned integers of k bits as bytes, without gaps.

The first value is in the lowest bits of the first bytes, as in `numpy.packbits` with ``bitorder="little"``.
The unused bits of the last byte are 0.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

MIN_BITS: Final = 1
MAX_BITS: Final = 32
CHUNK_VALUES: Final = 1 << 16
"""A multiple of 8, so that chunks begin at whole bytes."""

# Groups of at most 8 / _NARROW values need no transposed copy.
_NARROW = 4

Integers = NDArray[np.unsignedinteger[Any]]


def word_dtype(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Returns the smallest little-endian dtype for values of k bits: 1, 2 or 4 bytes."""
    return np.dtype("<u1" if bits <= 8 else "<u2" if bits <= 16 else "<u4")


def packed_size(count: int, bits: int) -> int:
    """Returns the number of bytes of ``count`` values of ``bits`` bits."""
    return (count * bits + 7) // 8


def pack(values: Integers, bits: int) -> bytes:
    """Packs a vector.

    Args:
        values: Unsigned integers below 2^bits, of shape (n,).
        bits: k, 1 to 32.

    Returns:
        ``packed_size(n, bits)`` bytes.
    """
    parts = (values[start : start + CHUNK_VALUES] for start in range(0, values.size, CHUNK_VALUES))
    return b"".join(pack_chunk(part, bits) for part in parts)


def unpack(data: bytes | memoryview, bits: int, count: int) -> Integers:
    """Unpacks a vector of ``count`` values; of the dtype `word_dtype` and shape (count,).

    Raises:
        ValueError: The number of bytes is wrong, or an unused bit of the last byte is not 0.
    """
    values = np.empty(count, word_dtype(bits))
    for start, chunk in unpack_chunks(data, bits, count):
        values[start : start + chunk.size] = chunk
    return values


def unpack_chunks(data: bytes | memoryview, bits: int, count: int) -> Iterator[tuple[int, Integers]]:
    """Yields the index of each chunk's first value, and the values; raises as `unpack` does."""
    check_packed(data, bits, count)
    packed = np.frombuffer(data, np.uint8)
    for start in range(0, count, CHUNK_VALUES):
        stop = min(start + CHUNK_VALUES, count)
        part = packed[start // 8 * bits : packed_size(stop, bits)]
        yield start, unpack_chunk(part, bits, stop - start)


def check_packed(data: bytes | memoryview, bits: int, count: int) -> None:
    """Checks that bytes are ``count`` packed values; raises as `unpack` does."""
    size = packed_size(count, bits)
    if len(data) != size:
        raise ValueError(f"expected {size} bytes for {count} values of {bits} bits, {len(data)} came")
    unused = 8 * size - count * bits
    if unused and data[-1] >> (8 - unused):
        raise ValueError(f"expected the last {unused} bits to be 0, came {data[-1] >> (8 - unused)}")


def pack_chunk(values: Integers, bits: int) -> bytes:
    """Packs a few values; see `pack`. All chunks but the last have a multiple of 8 values."""
    _check_bits(bits)
    if bits in (8, 16, 32):
        return np.asarray(values, word_dtype(bits)).tobytes()
    group = _Group.of(bits)
    groups = -(-values.size // group.values)
    padded = np.zeros((groups, group.values), word_dtype(bits))
    padded.reshape(-1)[: values.size] = values
    columns = np.asarray(padded.T, order=group.order)
    packed = np.zeros((group.bytes, groups), np.uint8, order=group.order)
    for byte in range(group.bytes):
        for column, shift in _parts_of_byte(byte, bits):
            part = columns[column] << shift if shift >= 0 else columns[column] >> -shift
            packed[byte] |= part.astype(np.uint8, copy=False)  # keeps the lowest 8 bits
    return packed.T.tobytes()[: packed_size(values.size, bits)]


def unpack_chunk(packed: NDArray[np.uint8], bits: int, count: int) -> Integers:
    """Returns the first ``count`` values that `pack_chunk` packed; of the dtype `word_dtype`."""
    _check_bits(bits)
    if bits in (8, 16, 32):
        return packed.view(word_dtype(bits))
    group = _Group.of(bits)
    groups = -(-count // group.values)
    dtype = word_dtype(bits)
    padded = np.zeros((groups, group.bytes), np.uint8)
    padded.reshape(-1)[: packed.size] = packed
    rows = np.asarray(padded.T, dtype, order=group.order)
    columns = np.zeros((group.values, groups), dtype, order=group.order)
    for byte in range(group.bytes):
        for column, shift in _parts_of_byte(byte, bits):
            columns[column] |= rows[byte] >> shift if shift >= 0 else rows[byte] << -shift
    columns &= dtype.type((1 << bits) - 1)
    return columns.T.reshape(-1)[:count]


@dataclass(frozen=True)
class _Group:
    """The smallest number of values that fill whole bytes.

    Attributes:
        values: Number of values.
        bytes: Number of bytes that they fill.
        order: Which layout is the faster one: a transposed copy pays for wide groups only.
    """

    values: int
    bytes: int
    order: Literal["C", "F"]

    @classmethod
    def of(cls, bits: int) -> Self:
        common = math.gcd(bits, 8)
        return cls(8 // common, bits // common, "C" if common < _NARROW else "F")


def _parts_of_byte(byte: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yields which values of a group have bits in a byte, and how far to the left they are shifted."""
    for column in range(8 * byte // bits, (8 * byte + 7) // bits + 1):
        yield column, column * bits - 8 * byte


def _check_bits(bits: int) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"values have {MIN_BITS} to {MAX_BITS} bits, not {bits}")
