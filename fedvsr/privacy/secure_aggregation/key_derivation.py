"""HKDF-SHA256 (RFC 5869) and the encoding of what a key, a signature or a commitment is bound to."""

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32

_PROTOCOL = "fedvsr secure aggregation 1"


def encode_context(purpose: str, *parts: str | bytes) -> bytes:
    """Returns the bytes of a purpose and its parts. Different arguments never give the same bytes."""
    encoded = [part.encode() if isinstance(part, str) else part for part in (_PROTOCOL, purpose, *parts)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def derive_key(
    secret: bytes, purpose: str, *parts: str | bytes, salt: bytes | None = None, length: int = KEY_BYTES
) -> bytes:
    """Derives a key by HKDF-SHA256.

    Args:
        secret: The input key material.
        purpose: What the key is for. Keys of different purposes are independent.
        parts: What else the key is bound to, for example the session and names.
        salt: HKDF's salt; random bytes, if there are any.
        length: Number of bytes.
    """
    kdf = HKDF(algorithm=SHA256(), length=length, salt=salt, info=encode_context(purpose, *parts))
    return kdf.derive(secret)


def commit(purpose: str, *parts: str | bytes) -> bytes:
    """Returns a SHA-256 that binds to the parts, and hides them if one of them is a secret of 256 bits."""
    digest = Hash(SHA256())
    digest.update(encode_context(purpose, *parts))
    return digest.finalize()
