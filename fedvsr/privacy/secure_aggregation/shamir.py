"""t-of-n sharing of 32-byte secrets (Shamir, "How to share a secret", 1979).

The sharing itself is PyCryptodome's, over GF(2^128). It takes 16 bytes, so a secret is shared as two halves
with independent polynomials.

The library draws the polynomials from the operating system and cannot repeat them. So a client shares its
secrets once, stores the message before it sends it, and sends the stored message again after it was killed.
Should two sharings of one secret ever get out, t − 1 shares of each still say nothing about the secret: each
sharing hides it perfectly, and the polynomials are independent.
"""

from collections.abc import Mapping
from typing import Final

from Crypto.Protocol.SecretSharing import Shamir

SECRET_BYTES: Final = 32

_HALF = SECRET_BYTES // 2


def split_secret(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Splits a secret into shares.

    Args:
        secret: 32 bytes.
        threshold: How many shares give the secret; fewer say nothing about it.
        count: The number of shares.

    Returns:
        The shares of the holders 1 to ``count``, 32 bytes each.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, this one has {len(secret)}")
    if not 2 <= threshold <= count:
        raise ValueError(f"the threshold is {threshold}, it must be 2 to {count}, the number of shares")
    first = Shamir.split(threshold, count, secret[:_HALF])
    second = Shamir.split(threshold, count, secret[_HALF:])
    return [one + other for (_, one), (_, other) in zip(first, second, strict=True)]


def combine_shares(shares: Mapping[int, bytes]) -> bytes:
    """Reconstructs a secret from exactly as many shares as its threshold.

    Wrong shares give a wrong secret and no error, so the caller compares the secret with a commitment.

    Args:
        shares: Shares by the number of their holder, counted from 1.
    """
    first = Shamir.combine([(number, share[:_HALF]) for number, share in shares.items()])
    second = Shamir.combine([(number, share[_HALF:]) for number, share in shares.items()])
    return first + second
