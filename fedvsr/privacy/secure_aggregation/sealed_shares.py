"""A client's shares for one peer: encrypted, and committed to."""

import secrets
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field

from fedvsr.privacy.secure_aggregation.canonical import Bytes32, CanonicalRecord
from fedvsr.privacy.secure_aggregation.key_derivation import commit, derive_key, encode_context
from fedvsr.privacy.secure_aggregation.session_keys import SessionKeys, agree
from fedvsr.privacy.secure_aggregation.shamir import SECRET_BYTES

SEED = "self-mask seed"
MASK_KEY = "mask key"

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_CIPHERTEXT_BYTES: Final = 2 * SECRET_BYTES + _TAG_BYTES


@dataclass(frozen=True)
class ShareRoute:
    """Who shared with whom, in which session and among which clients.

    Attributes:
        session: The digest of the session's parameters.
        roster: The digest of the roster.
        owner: The client whose secrets are shared.
        holder: The client that holds the shares.
    """

    session: str
    roster: str
    owner: str
    holder: str

    def context(self) -> tuple[str, str, str, str]:
        """Returns what keys, ciphertexts and commitments are bound to."""
        return self.session, self.roster, self.owner, self.holder

    def commit(self, secret_name: str, share: bytes) -> bytes:
        """Commits to a share of one of the owner's secrets, `SEED` or `MASK_KEY`."""
        return commit("share", secret_name, *self.context(), share)


@dataclass(frozen=True)
class SharePair:
    """The shares of one owner's two secrets, 32 bytes each."""

    seed: bytes = field(repr=False)
    mask_key: bytes = field(repr=False)


class SealedShares(CanonicalRecord):
    """A pair of shares, encrypted with AES-256-GCM (NIST SP 800-38D), and a SHA-256 commitment to each.

    The commitments tell who lies when a reconstruction fails: the holder, if it opens another share than the
    one committed to, or the owner. A share is uniform over 256 bits, so its SHA-256 says nothing about it.
    """

    what: ClassVar[str] = "encrypted shares"

    nonce: Annotated[bytes, Field(min_length=_NONCE_BYTES, max_length=_NONCE_BYTES)]
    ciphertext: Annotated[bytes, Field(min_length=_CIPHERTEXT_BYTES, max_length=_CIPHERTEXT_BYTES)]
    seed_commitment: Bytes32
    mask_key_commitment: Bytes32


def share_encryption_key(keys: SessionKeys, peer_public_key: bytes, client: str, route: ShareRoute) -> bytes:
    """Returns the AES-256 key from an owner to a holder; the two directions have different keys.

    Args:
        keys: The secrets of one of the two.
        peer_public_key: The other's X25519 public key for shares.
        client: The client whose secrets ``keys`` are.
        route: The owner and the holder.

    Raises:
        ValueError: The public key has low order.
    """
    is_own = route.owner == route.holder == client
    secret = keys.own_share_key if is_own else agree(keys.share_key, peer_public_key)
    return derive_key(secret, "share encryption", *route.context())


def seal_shares(key: bytes, route: ShareRoute, pair: SharePair) -> SealedShares:
    """Encrypts a pair of shares; two calls give different bytes.

    The key is for one owner, one holder, one session and one roster, so it encrypts one message, or a few if
    the client was killed before it could store the first. The nonce is drawn from the operating system, so a
    repeated call does not use it twice (96 random bits).
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    seed_commitment = route.commit(SEED, pair.seed)
    mask_key_commitment = route.commit(MASK_KEY, pair.mask_key)
    associated = _associated_data(route, seed_commitment, mask_key_commitment)
    return SealedShares(
        nonce=nonce,
        ciphertext=AESGCM(key).encrypt(nonce, pair.seed + pair.mask_key, associated),
        seed_commitment=seed_commitment,
        mask_key_commitment=mask_key_commitment,
    )


def open_shares(key: bytes, route: ShareRoute, sealed: SealedShares) -> SharePair:
    """Decrypts a pair of shares and compares them with their commitments.

    Raises:
        ValueError: They are not what the owner encrypted for this holder, or not what it committed to.
    """
    associated = _associated_data(route, sealed.seed_commitment, sealed.mask_key_commitment)
    try:
        plain = AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, associated)
    except InvalidTag:
        raise ValueError("they were changed, or encrypted for another client, session or roster") from None
    pair = SharePair(plain[:SECRET_BYTES], plain[SECRET_BYTES:])
    committed = sealed.seed_commitment, sealed.mask_key_commitment
    if committed != (route.commit(SEED, pair.seed), route.commit(MASK_KEY, pair.mask_key)):
        raise ValueError("they differ from what the client committed to")
    return pair


def _associated_data(route: ShareRoute, *commitments: bytes) -> bytes:
    return encode_context("shares", *route.context(), *commitments)
