"""Codecs that rotate values and round them at random to a few bits.

A segment of at most `fedvsr.weights.CHUNK_ELEMENTS` values is rotated in blocks (`fedvsr.codecs.rotation`). A
block y with b bits per value is divided by its scale s = max|y| / (2^b − 1) and rounded to one of the levels
−(2^b − 1), …, −3, −1, 1, 3, …, 2^b − 1. Of the two levels around y/s, one is drawn with the probability that
makes the mean y/s. So the decoded values are unbiased: their expectation is the encoded values, up to 2⁻¹⁷ of
the distance between two levels, because the draw has 16 bits.

The error of a rounded value is at most the distance 2s. Its variance is 4·s²·f·(1 − f), with a position f in
0..1 between the two levels, and (2/3)·s² on average over f. The inverse rotation keeps the norm of a block's
error. So the normalised error is about (2/3)·m² / (2^b − 1)², with m = max|y| / (root mean square of y). For
Gaussian values in blocks of 256, m² is about 9: 2.7 % with 4 bits.

Sources: Suresh et al., "Distributed Mean Estimation with Limited Communication", ICML 2017,
https://arxiv.org/abs/1611.00429; Alistarh et al., "QSGD", NeurIPS 2017, https://arxiv.org/abs/1610.02132.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedvsr.codecs.packing import pack_chunk, packed_size, unpack_chunk
from fedvsr.codecs.rotation import bit_generator, block_shape, random_signs, rotate, rotate_back
from fedvsr.codecs.stream import SegmentCoder, StreamCodec

_DRAW = np.float32(2**16)
_SMALLEST_SCALE = np.finfo(np.float32).tiny


class QuantisingCodec(StreamCodec):
    """Rotates and rounds to ``bits`` bits per value.

    Attributes:
        bits: 2, 4 or 8.
    """

    source = (
        "Suresh et al., Distributed Mean Estimation with Limited Communication, ICML 2017, "
        "https://arxiv.org/abs/1611.00429"
    )
    bits: ClassVar[int]

    def make_coder(self, seed: int) -> SegmentCoder:
        return _QuantisingCoder(self.bits, seed)


class _QuantisingCoder(SegmentCoder):
    """A segment's blocks in the stream: one scale per column of its matrix, then the packed levels."""

    def __init__(self, bits: int, seed: int) -> None:
        self._bits = bits
        self._generator = bit_generator(seed)
        self._signs = random_signs(self._generator)

    def block_sizes(self, count: int) -> tuple[int, ...]:
        rows, columns = block_shape(count)
        return (4 * columns, packed_size(rows * columns, self._bits))

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], ...]:
        with np.errstate(over="ignore", invalid="ignore"):
            rotated = rotate(values, self._signs)
            largest = np.maximum(rotated.max(axis=0), -rotated.min(axis=0))
        if not np.isfinite(largest).all():
            raise OverflowError("a value is not finite, or too large to be rotated")
        scales = largest / np.float32(2**self._bits - 1)
        # The inverse of a smaller scale is infinite. Such values count as zero.
        scales[scales < _SMALLEST_SCALE] = 0
        inverse = np.divide(np.float32(0.5), scales, out=np.zeros_like(scales), where=scales > 0)
        rotated *= inverse
        levels = round_at_random(rotated, self._bits, self._generator).astype(np.uint8)
        packed = np.frombuffer(pack_chunk(levels.reshape(-1), self._bits), np.uint8)
        return scales.astype("<f4", copy=False).view(np.uint8), packed

    def decode(self, blocks: Sequence[NDArray[np.uint8]], count: int) -> NDArray[np.float32]:
        rows, columns = block_shape(count)
        scales = blocks[0].view("<f4")
        if not np.isfinite(scales).all() or (scales < 0).any():
            raise OverflowError("a scale is negative or not finite")
        levels = unpack_chunk(blocks[1], self._bits, rows * columns).astype(np.float32)
        levels *= 2
        levels -= np.float32(2**self._bits - 1)
        # The levels are integers, so this is exact. A scale belongs to a column, so it can wait.
        matrix = rotate_back(levels.reshape(rows, columns), self._signs, rows * columns).reshape(
            rows, columns
        )
        with np.errstate(over="ignore"):
            matrix *= scales
        return matrix.reshape(-1)[:count]


def round_at_random(
    values: NDArray[np.float32], bits: int, generator: np.random.BitGenerator
) -> NDArray[np.float32]:
    """Rounds values to one of the two levels around them, so that the mean is the value.

    Args:
        values: The values divided by the distance between two levels, from −(2^b − 1)/2 to (2^b − 1)/2. They
            are overwritten.
        bits: Bits per value, b.
        generator: Draws which of the two.

    Returns:
        The numbers of the levels, with the lowest as 0; a cast to an integer dtype rounds them down.
    """
    top = np.float32(2**bits - 1)
    values += top / 2
    values += _draw_uniform(generator, values.shape)
    return np.clip(values, 0, top, out=values)


def _draw_uniform(generator: np.random.BitGenerator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns uniform random numbers in (0, 1) on a grid of 2¹⁶."""
    count = math.prod(shape)
    words = np.asarray(generator.random_raw(-(-count // 4)), "<u8")
    draws = words.view("<u2")[:count].astype(np.float32)
    draws += np.float32(0.5)
    draws /= _DRAW
    return draws.reshape(shape)
