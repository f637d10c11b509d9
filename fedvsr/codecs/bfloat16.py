"""Floating-point values rounded to bfloat16: float32's range with 8 significant bits.

The exponents of a tensor's values are much alike, so they are stored apart from the fractions, and zstd makes
them small. A value takes about 1.4 bytes instead of 2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedvsr.codecs.stream import SegmentCoder, StreamCodec

_EXPONENT_OF_INFINITY = 0xFF


class BFloat16(StreamCodec):
    """Sends differences and weights in bfloat16."""

    name = "bfloat16"
    description = "rounded to 8 significant bits: about 1.4 bytes per parameter"
    downloads = True

    def make_coder(self, seed: int) -> SegmentCoder:
        return _BFloat16Coder()


class _BFloat16Coder(SegmentCoder):
    def block_sizes(self, count: int) -> tuple[int, ...]:
        return (count, count)

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], ...]:
        if not np.isfinite(values).all():
            raise OverflowError("a value is not finite")
        bits = values.view(np.uint32)
        # Round to nearest, ties to even. A value above the largest bfloat16 becomes infinite.
        rounded = bits >> np.uint32(16)
        rounded &= np.uint32(1)
        rounded += np.uint32(0x7FFF)
        rounded += bits
        halves = rounded.astype("<u4", copy=False).view("<u2")[1::2]
        # NumPy's cast to uint8 keeps the low bits: the exponent without the sign above it.
        exponents = (halves >> np.uint16(7)).astype(np.uint8)
        if (exponents == _EXPONENT_OF_INFINITY).any():
            raise OverflowError("a value is too large for bfloat16")
        # The sign is as random as the fraction.
        fractions = halves.astype(np.uint8)
        fractions &= np.uint8(0x7F)
        fractions |= (halves >> np.uint16(8)).astype(np.uint8) & np.uint8(0x80)
        return exponents, fractions

    def decode(self, blocks: Sequence[NDArray[np.uint8]], count: int) -> NDArray[np.float32]:
        exponents, fractions = (block.astype(np.uint32) for block in blocks)
        if (exponents == _EXPONENT_OF_INFINITY).any():
            raise OverflowError("a value is not finite")
        signs = (fractions & np.uint32(0x80)) << np.uint32(8)
        bits: NDArray[np.uint32] = signs | (exponents << np.uint32(7)) | (fractions & np.uint32(0x7F))
        return (bits << np.uint32(16)).view(np.float32)
