"""The randomised Hadamard rotation, block by block.

A rotation spreads every value over its block, so that one large value does not spoil the resolution of the
others. A vector x of R = 2^k elements becomes y = H·D·x: D changes signs at random, and H is Sylvester's
Hadamard matrix, with elements ±1. Because H·H = R·I, x = D·H·y / R.

The values of a segment form a matrix (R, M), whose columns are the blocks. So the rotation is two matrix
products, with H = H_P ⊗ H_Q and P·Q = R, over rows that are contiguous in memory.

Sums of integers below 2²⁴ are exact in float32. So the inverse of a rotation gives the same bits on every
machine, whatever the order of its sums, if it is applied to integers.

Source: Suresh et al., "Distributed Mean Estimation with Limited Communication", ICML 2017,
https://arxiv.org/abs/1611.00429, section 3 (stochastic rotated quantisation).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

MAX_BLOCK = 256
"""Elements of a block; only a segment with fewer elements has a smaller one."""

Matrix = NDArray[np.float32]


def block_shape(count: int) -> tuple[int, int]:
    """Returns the shape (R, M) of a segment's matrix, with R·M ≥ count and R a power of two.

    Args:
        count: Number of values of the segment, at least 1.
    """
    rows = min(MAX_BLOCK, 1 << (count - 1).bit_length())
    return rows, -(-count // rows)


def bit_generator(seed: int) -> np.random.BitGenerator:
    """Returns a generator of random bits. NumPy promises the same bits for a seed in all its versions."""
    return np.random.SFC64(np.random.SeedSequence(seed))


def random_signs(generator: np.random.BitGenerator) -> NDArray[np.float32]:
    """Returns `MAX_BLOCK` signs, −1 or 1. A smaller block takes the first of them."""
    words = generator.random_raw(MAX_BLOCK // 64)
    bits = np.unpackbits(np.asarray(words, "<u8").view(np.uint8))
    return bits.astype(np.float32) * 2 - 1


def rotate(values: NDArray[np.float32], signs: NDArray[np.float32]) -> Matrix:
    """Returns y = H·D·x for the blocks of a segment, as the columns of a matrix (R, M).

    Args:
        values: The segment, (n,); zeros fill the last blocks.
        signs: The signs D; see `random_signs`.
    """
    rows, columns = block_shape(values.size)
    matrix = np.zeros((rows, columns), np.float32)
    matrix.reshape(-1)[: values.size] = values
    matrix *= signs[:rows, None]
    return _transform(matrix)


def rotate_back(matrix: Matrix, signs: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Returns the segment x = D·H·y / R whose rotation is a matrix (R, M).

    Integers whose sums stay below 2²⁴ give exact results.

    Args:
        matrix: The rotated blocks.
        signs: The signs D.
        count: Number of values of the segment, n.
    """
    rows = len(matrix)
    values = _transform(matrix)
    values *= signs[:rows, None] / np.float32(rows)
    return values.reshape(-1)[:count]


def _transform(matrix: Matrix) -> Matrix:
    """Returns the Hadamard transform H·x of every column of a matrix (R, M), newly allocated."""
    rows, columns = matrix.shape
    outer = 1 << ((rows.bit_length() - 1) // 2)
    inner = rows // outer
    partly = np.matmul(_hadamard(outer), matrix.reshape(outer, inner * columns))
    transformed: Matrix = np.matmul(_hadamard(inner), partly.reshape(outer, inner, columns))
    return transformed.reshape(rows, columns)


@cache
def _hadamard(order: int) -> Matrix:
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    matrix.flags.writeable = False
    return matrix
