"""Floating-point values rotated and rounded at random to 2 bits."""

from fedvsr.codecs.quantiser import QuantisingCodec


class Int2(QuantisingCodec):
    """Sends 4 levels per value."""

    name = "int2"
    description = "rotated and rounded at random to 2 bits: about 0.2 bytes per parameter"
    bits = 2
