"""A client's long-term secret, its public key, and its signatures."""

import hashlib
import secrets
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedvsr.errors import AccessFileError
from fedvsr.privacy.secure_aggregation.key_derivation import KEY_BYTES, derive_key, encode_context

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_GROUP_DIGITS = 4


class Identity:
    """A client's long-term secret. It never leaves the client.

    The signing key and the secrets of every session are derived from it, each for its own purpose, so one
    says nothing about the other.

    Args:
        secret: 32 random bytes; `Identity.generate` draws them.

    Raises:
        fedvsr.errors.AccessFileError: The secret does not have 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise AccessFileError(
                f"a client's long-term secret has {KEY_BYTES} bytes, this one has {len(secret)}; "
                "restore the file from a backup, or make a new secret and have its fingerprint approved"
            )
        self._secret = secret

    @classmethod
    def generate(cls) -> "Identity":
        """Draws a new secret from the operating system's random numbers."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def to_bytes(self) -> bytes:
        """Returns the secret, 32 bytes, for the client's own file."""
        return self._secret

    @cached_property
    def public_key(self) -> bytes:
        """The Ed25519 public key (RFC 8032), 32 bytes."""
        return self._signing_key.public_key().public_bytes_raw()

    def sign(self, context: str, message: bytes) -> bytes:
        """Signs a message for one context. The same arguments give the same 64 bytes."""
        return self._signing_key.sign(encode_context("signature", context, message))

    def derive_secret(self, purpose: str, *parts: str | bytes, nonce: bytes) -> bytes:
        """Derives 32 bytes that only this client can derive."""
        return derive_key(self._secret, purpose, *parts, salt=nonce)

    @cached_property
    def _signing_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(derive_key(self._secret, "signing key"))

    def __repr__(self) -> str:
        return f"Identity({fingerprint(self.public_key)})"


def verify(public_key: bytes, context: str, message: bytes, signature: bytes) -> bool:
    """Tells whether a signature is by the owner of a public key, of this message, for this context."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature, encode_context("signature", context, message))
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public_key: bytes) -> str:
    """Returns the SHA-256 of a public key for people to compare: 16 groups of 4 hexadecimal digits."""
    digits = hashlib.sha256(public_key).hexdigest()
    return ":".join(digits[start : start + _GROUP_DIGITS] for start in range(0, len(digits), _GROUP_DIGITS))
