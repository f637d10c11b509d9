"""Differences of weights as vectors of small integers, whose sum over the clients can be turned back.

All clients of a round use the same rotation (`fedvsr.codecs.rotation`) and the same scales, so the sum of
their integers is, up to the rounding, the rotated sum of their values. A client multiplies its differences
with its share first. A tensor's scale is s = max over clients of share·max|y| / (2^b − 1), with the rotated
differences y and b bits per value. Rounding is at random and unbiased, as in `fedvsr.codecs.quantiser`: each
client's value is off by at most 2s, with the variance (2/3)·s² on average.

Integer and boolean buffers are not part of the vector.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedvsr.codecs.quantiser import round_at_random
from fedvsr.codecs.rotation import bit_generator, block_shape, random_signs, rotate, rotate_back
from fedvsr.codecs.stream import segments
from fedvsr.weights import Array, Tensors, TensorSpec

Integers = NDArray[np.unsignedinteger[Any]]


class IntegerVectors:
    """Turns a model's differences into vectors of integers, and sums of such vectors into differences.

    Args:
        specs: Shape and dtype of each tensor of the model.
        bits: Bits per value, b.
        rotation_seed: The seed of the rotation, which all clients share.

    Attributes:
        length: Number of elements of a vector.
        top: The largest element of a client's vector.
        tensors: The names of the tensors in the vector, in their order.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], bits: int, rotation_seed: int) -> None:
        self._specs = {
            name: spec
            for name, spec in sorted(specs.items())
            if np.issubdtype(spec.dtype, np.floating) and spec.size
        }
        self._bits = bits
        self.top = 2**bits - 1
        self.tensors = tuple(self._specs)
        self._signs = random_signs(bit_generator(rotation_seed))
        self.length = sum(
            math.prod(block_shape(count)) for spec in self._specs.values() for _, count in segments(spec.size)
        )

    def maxima(self, differences: Tensors) -> tuple[float, ...]:
        """Returns max|y| of each tensor, in the order of the names.

        Args:
            differences: The client's weights minus the weights that it was sent.

        Raises:
            OverflowError: A value is not finite, or too large to be rotated.
        """
        largest = []
        for name in self.tensors:
            rotated = (abs(self._rotate(segment)).max() for segment in _segments_of(differences[name]))
            largest.append(float(max(rotated)))
        if not np.isfinite(largest).all():
            raise OverflowError("a value is not finite, or too large to be rotated")
        return tuple(largest)

    def scales(self, maxima: Mapping[str, Sequence[float]], shares: Mapping[str, float]) -> tuple[float, ...]:
        """Returns each tensor's scale for all clients.

        Args:
            maxima: What `maxima` returned at each client.
            shares: Each client's share.
        """
        columns = zip(
            *(np.multiply(shares[client], maxima[client]) for client in sorted(maxima)), strict=True
        )
        return tuple(float(max(column)) / self.top for column in columns)

    def encode(self, differences: Tensors, share: float, scales: Sequence[float], seed: int) -> Integers:
        """Returns a client's vector, with values from 0 to 2^b − 1.

        Args:
            differences: The client's weights minus the weights that it was sent.
            share: The client's share.
            scales: The tensors' scales; see `scales`.
            seed: The seed of the rounding, the client's own.
        """
        generator = bit_generator(seed)
        vector = np.empty(self.length, np.uint16)
        position = 0
        for name, scale in zip(self.tensors, scales, strict=True):
            for segment in _segments_of(differences[name]):
                rotated = self._rotate(segment)
                rotated *= np.float32(0.5 * share / scale if scale else 0)
                levels = round_at_random(rotated, self._bits, generator).astype(np.uint16)
                vector[position : position + levels.size] = levels.reshape(-1)
                position += levels.size
        return vector

    def decode(self, total: Integers, clients: int, scales: Sequence[float]) -> Iterator[tuple[str, Array]]:
        """Yields each tensor's name and the sum of the clients' differences times their shares, float32.

        Args:
            total: The sum of the clients' vectors, (length,).
            clients: Number of clients in the sum.
            scales: The tensors' scales.
        """
        position = 0
        for (name, spec), scale in zip(self._specs.items(), scales, strict=True):
            values = np.empty(spec.size, np.float32)
            for start, count in segments(spec.size):
                shape = block_shape(count)
                size = math.prod(shape)
                levels = 2 * total[position : position + size].astype(np.int64) - clients * self.top
                position += size
                # Below 2²⁴ for at most 257 clients and 8 bits, so the rotation is exact.
                restored = rotate_back(levels.astype(np.float32).reshape(shape), self._signs, count)
                values[start : start + count] = restored * np.float32(scale)
            yield name, values.reshape(spec.shape)

    def _rotate(self, segment: Array) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):
            return rotate(segment.astype(np.float32), self._signs)


def _segments_of(array: Array) -> Iterator[Array]:
    flat = array.reshape(-1)
    for start, count in segments(flat.size):
        yield flat[start : start + count]
