"""Packing keeps every value, has the size that is said, and is the layout of numpy.packbits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.codecs.packing import CHUNK_VALUES, pack, packed_size, unpack

VECTORS = st.integers(1, 32).flatmap(
    lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, (1 << bits) - 1), max_size=70))
)


def pack_bit_by_bit(values: np.ndarray, bits: int) -> bytes:
    """The layout, one bit at a time."""
    matrix = (values[:, None].astype(np.uint64) >> np.arange(bits, dtype=np.uint64)) & 1
    return np.packbits(matrix.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


@given(VECTORS)
def test_any_vector_comes_back(vector):
    bits, content = vector
    values = np.array(content, np.uint32)
    packed = pack(values, bits)
    assert packed == pack_bit_by_bit(values, bits)
    assert len(packed) == packed_size(len(content), bits) == -(-len(content) * bits // 8)
    np.testing.assert_array_equal(unpack(packed, bits, len(content)), values)


@pytest.mark.parametrize("bits", [1, 7, 8, 11, 16, 21, 32])
@pytest.mark.parametrize("count", [CHUNK_VALUES, CHUNK_VALUES + 1, 2 * CHUNK_VALUES + 13])
def test_chunks_join_without_gaps(bits, count):
    values = np.random.default_rng(0).integers(0, 1 << bits, count, np.uint32)
    packed = pack(values, bits)
    assert packed == pack_bit_by_bit(values, bits)
    np.testing.assert_array_equal(unpack(memoryview(packed), bits, count), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_the_dtype_does_not_matter(dtype):
    values = np.arange(100)
    assert pack(values.astype(dtype), 7) == pack(values.astype(np.uint32), 7)


@pytest.mark.parametrize("size", [0, 1, 12, 14])
def test_another_number_of_bytes_is_refused(size):
    with pytest.raises(ValueError, match=rf"expected 13 bytes for 10 values of 10 bits, {size} came"):
        unpack(bytes(size), 10, 10)


def test_unused_bits_are_refused():
    with pytest.raises(ValueError, match="expected the last 4 bits to be 0"):
        unpack(bytes(12) + b"\x10", 10, 10)


@pytest.mark.parametrize("bits", [0, 33])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match="1 to 32 bits"):
        pack(np.zeros(8, np.uint32), bits)
