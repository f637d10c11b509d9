"""A client's secrets for one session."""

from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedvsr.privacy.secure_aggregation.identity import Identity
from fedvsr.privacy.secure_aggregation.key_derivation import commit

_ANY_PRIVATE_KEY = bytes(32)


@dataclass(frozen=True)
class SessionKeys:
    """A client's secrets for one session, derived by HKDF-SHA256.

    They are a function of the client's long-term secret, the session and a nonce. So a client that was killed
    has the same secrets when it runs again. The client drew the nonce from the operating system for this
    session and keeps it in its own store. The nonce is why a run that was deleted and repeated under the same
    name, with the same session identifier, never uses a mask twice: the nonce was deleted too, and the new
    one differs.

    Attributes:
        mask_key: The X25519 private key (RFC 7748) for pairwise masks, 32 bytes; s^SK in the paper.
        share_key: The X25519 private key for encrypting shares, 32 bytes; c^SK in the paper.
        seed: The seed of the self-mask, 32 bytes; b in the paper.
        own_share_key: The AES-256 key for the shares that the client keeps for itself.
    """

    mask_key: bytes = field(repr=False)
    share_key: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    own_share_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, identity: Identity, session: str, nonce: bytes) -> "SessionKeys":
        """Derives a session's secrets. The same arguments give the same secrets.

        Args:
            identity: The client's long-term secret.
            session: The digest of the session's parameters.
            nonce: 32 random bytes that the client keeps for this session.
        """
        purposes = ("mask key", "share key", "self-mask seed", "own share key")
        return cls(*(identity.derive_secret(purpose, session, nonce=nonce) for purpose in purposes))

    @cached_property
    def mask_public_key(self) -> bytes:
        """The public key for pairwise masks, 32 bytes."""
        return public_key_of(self.mask_key)

    @cached_property
    def share_public_key(self) -> bytes:
        """The public key for encrypting shares, 32 bytes."""
        return public_key_of(self.share_key)


def public_key_of(private_key: bytes) -> bytes:
    """Returns the X25519 public key of a private key, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def agree(private_key: bytes, public_key: bytes) -> bytes:
    """Returns the secret of two parties by X25519, 32 bytes; the input of a key derivation, never a key.

    Raises:
        ValueError: The public key has low order, so the secret would be known to everyone.
    """
    peer = X25519PublicKey.from_public_bytes(public_key)
    return X25519PrivateKey.from_private_bytes(private_key).exchange(peer)


def has_low_order(public_key: bytes) -> bool:
    """Tells whether a public key gives the same secret with every private key (RFC 7748, section 6.1)."""
    try:
        agree(_ANY_PRIVATE_KEY, public_key)
    except ValueError:
        return True
    return False


def commit_seed(session: str, client: str, seed: bytes) -> bytes:
    """Returns the commitment to a self-mask's seed: a wrong reconstruction does not match it."""
    return commit("self-mask seed", session, client, seed)
