"""Mask streams: pseudo-random words that are added to a vector modulo 2^k."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedvsr.codecs.packing import CHUNK_VALUES
from fedvsr.privacy.secure_aggregation.key_derivation import derive_key
from fedvsr.privacy.secure_aggregation.session_keys import agree

Words = NDArray[np.unsignedinteger[Any]]

_BLOCK_BYTES = 16
# AES-128 has the strength of X25519, from which its keys come.
_STREAM_KEY_BYTES = 16
_MAX_WORD_BYTES = 4
_ZEROS: Final = bytes(CHUNK_VALUES * _MAX_WORD_BYTES)


def word_mask(bits: int) -> int:
    """Returns a number with the k lowest bits set: ``&`` with it is modulo 2^k."""
    return (1 << bits) - 1


@dataclass(frozen=True)
class Mask:
    """A mask and its sign.

    The stream is AES-128-CTR of zeros (NIST SP 800-38A) from the counter 0. A key has one stream only: it is
    derived for one session and one pair of clients, or for one client's self-mask, and a session has one
    vector (`client.mask` refuses a second one). So no pair of key and counter is used twice. The two clients
    of a pair use the same stream, because it must cancel in the sum; each also has its self-mask.

    Attributes:
        key: The stream's key, 16 bytes.
        is_added: Whether the mask is added, or subtracted.
    """

    key: bytes
    is_added: bool

    def reversed(self) -> "Mask":
        """Returns the mask with the other sign, which takes it away."""
        return Mask(self.key, not self.is_added)


def self_mask(seed: bytes, session: str, client: str) -> Mask:
    """Returns a client's self-mask: PRG(b) in the paper."""
    return Mask(derive_key(seed, "self-mask", session, client, length=_STREAM_KEY_BYTES), is_added=True)


def pairwise_mask(private_key: bytes, public_key: bytes, session: str, client: str, peer: str) -> Mask:
    """Returns what a client adds for a peer: PRG(s) in the paper, with its sign.

    The client whose name comes first adds the mask, the other subtracts it.

    Args:
        private_key: The X25519 private key for masks of one of the two.
        public_key: The X25519 public key for masks of the other.
        session: The digest of the session's parameters.
        client: The client whose vector is masked.
        peer: The other client.

    Raises:
        ValueError: The public key has low order.
    """
    names = sorted((client, peer))
    key = derive_key(
        agree(private_key, public_key), "pairwise mask", session, *names, length=_STREAM_KEY_BYTES
    )
    return Mask(key, is_added=client < peer)


class MaskStreams:
    """Adds many masks to a vector, chunk by chunk. Memory holds one chunk, whatever the vector's length.

    Args:
        masks: The masks.
        dtype: The dtype of the vector's words; see `word_dtype`.
    """

    def __init__(self, masks: Iterable[Mask], dtype: np.dtype[np.unsignedinteger[Any]]) -> None:
        self._streams = [
            (Cipher(algorithms.AES(mask.key), modes.CTR(bytes(_BLOCK_BYTES))).encryptor(), mask.is_added)
            for mask in masks
        ]
        self._dtype = dtype
        # The library wants room for one more block than it writes.
        self._buffer = bytearray(CHUNK_VALUES * dtype.itemsize + _BLOCK_BYTES)

    def apply(self, words: Words) -> None:
        """Adds the next part of every mask to a chunk of words, in place, modulo the size of a word.

        Args:
            words: The next words of the vector, at most `CHUNK_VALUES`, of the streams' dtype.
        """
        zeros = memoryview(_ZEROS)[: words.nbytes]
        stream = np.frombuffer(self._buffer, self._dtype, words.size)
        for encryptor, is_added in self._streams:
            encryptor.update_into(zeros, self._buffer)
            if is_added:
                words += stream
            else:
                words -= stream
