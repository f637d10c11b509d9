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
        return (4 * columns, -(-rows * columns * self._bits // 8))

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], ...]:
        with np.errstate(over="ignore", invalid="ignore"):
            rotated = rotate(values, self._signs)
            largest = np.maximum(rotated.max(axis=0), -rotated.min(axis=0))
        if not np.isfinite(largest).all():
            raise OverflowError("a value is not finite, or too large to be rotated")
        top = np.float32(2**self._bits - 1)
        scales = largest / top
        # The inverse of a smaller scale is infinite. Such values count as zero.
        scales[scales < _SMALLEST_SCALE] = 0
        inverse = np.divide(np.float32(0.5), scales, out=np.zeros_like(scales), where=scales > 0)
        rotated *= inverse
        rotated += top / 2
        rotated += draw_uniform(self._generator, rotated.shape)
        np.clip(rotated, 0, top, out=rotated)
        # A cast of positive values rounds down.
        levels = rotated.astype(np.uint8).reshape(-1)
        return scales.astype("<f4", copy=False).view(np.uint8), pack(levels, self._bits)

    def decode(self, blocks: Sequence[NDArray[np.uint8]], count: int) -> NDArray[np.float32]:
        rows, columns = block_shape(count)
        scales = blocks[0].view("<f4")
        if not np.isfinite(scales).all() or (scales < 0).any():
            raise OverflowError("a scale is negative or not finite")
        levels = unpack(blocks[1], self._bits, rows * columns).astype(np.float32)
        levels *= 2
        levels -= np.float32(2**self._bits - 1)
        # The levels are integers, so this is exact. A scale belongs to a column, so it can wait.
        matrix = rotate_back(levels.reshape(rows, columns), self._signs, rows * columns).reshape(
            rows, columns
        )
        with np.errstate(over="ignore"):
            matrix *= scales
        return matrix.reshape(-1)[:count]


def draw_uniform(generator: np.random.BitGenerator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns uniform random numbers in (0, 1) on a grid of 2¹⁶."""
    count = math.prod(shape)
    words = np.asarray(generator.random_raw(-(-count // 4)), "<u8")
    draws = words.view("<u2")[:count].astype(np.float32)
    draws += np.float32(0.5)
    draws /= _DRAW
    return draws.reshape(shape)


def pack(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Packs numbers below 2^bits into bytes, the first in the lowest bits; zeros fill the last byte.

    Args:
        levels: The numbers, (n,).
        bits: 2, 4 or 8.
    """
    per_byte = 8 // bits
    if per_byte == 1:
        return levels
    padding = -levels.size % per_byte
    columns = np.pad(levels, (0, padding)).reshape(-1, per_byte)
    packed = columns[:, 0].copy()
    for index in range(1, per_byte):
        packed |= columns[:, index] << np.uint8(index * bits)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Returns the first ``count`` numbers that `pack` packed."""
    per_byte = 8 // bits
    if per_byte == 1:
        return packed[:count]
    levels = np.empty((packed.size, per_byte), np.uint8)
    mask = np.uint8(2**bits - 1)
    for index in range(per_byte):
        levels[:, index] = (packed >> np.uint8(index * bits)) & mask
    return levels.reshape(-1)[:count]
