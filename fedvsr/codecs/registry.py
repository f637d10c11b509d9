"""The registry of codecs. A built-in codec is one file in this folder, and one line here."""

from fedvsr.codecs.base import Codec
from fedvsr.errors import ConfigError
from fedvsr.registry import registry_of_subclasses

EXACT = "float32"
"""The codec that changes nothing: the default in both directions."""

_BUILT_INS = {
    "bfloat16": "fedvsr.codecs.bfloat16:BFloat16",
    EXACT: "fedvsr.codecs.float32:Float32",
    "int2": "fedvsr.codecs.int2:Int2",
    "int4": "fedvsr.codecs.int4:Int4",
    "int8": "fedvsr.codecs.int8:Int8",
}


CODECS = registry_of_subclasses(
    Codec,  # type: ignore[type-abstract]
    kind="codec",
    field="communication.upload",
    group="fedvsr.codecs",
    built_ins=_BUILT_INS,
)


def codec_names() -> tuple[str, ...]:
    """Returns the names of the built-in codecs and of the installed entry points, sorted."""
    return CODECS.names()


def build_codec(name: str) -> Codec:
    """Builds a codec.

    Args:
        name: One of `codec_names`, or a reference ``package.module:name``.

    Raises:
        fedvsr.errors.UnknownNameError: No codec has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, or is not a codec.
    """
    return CODECS.load(name)()


def download_codec_names() -> tuple[str, ...]:
    """Returns the names of the codecs that global weights may travel with, sorted.

    A codec of another package that cannot be imported is left out.
    """
    return tuple(name for name in codec_names() if _encodes_downloads(name))


def _encodes_downloads(name: str) -> bool:
    try:
        return CODECS.load(name).downloads
    except ConfigError:
        return False
