"""Floating-point values rotated and rounded at random to 8 bits."""

from fedvsr.codecs.quantiser import QuantisingCodec


class Int8(QuantisingCodec):
    """Sends 256 levels per value."""

    name = "int8"
    description = "rotated and rounded at random to 8 bits: about 0.96 bytes per parameter"
    bits = 8
    downloads = True
