"""Floating-point values rotated and rounded at random to 4 bits."""

from fedvsr.codecs.quantiser import QuantisingCodec


class Int4(QuantisingCodec):
    """Sends 16 levels per value."""

    name = "int4"
    description = "rotated and rounded at random to 4 bits: about 0.46 bytes per parameter"
    bits = 4
