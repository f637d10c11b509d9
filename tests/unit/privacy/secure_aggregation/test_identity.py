"""A client's long-term secret: who signed what, and what people compare."""

import pytest

from fedvsr.errors import AccessFileError
from fedvsr.privacy.secure_aggregation.identity import Identity, fingerprint, verify

IDENTITY = Identity(bytes(range(32)))
MESSAGE = b"a message"


def test_a_stored_identity_comes_back():
    identity = Identity.generate()
    restored = Identity(identity.to_bytes())
    assert restored.public_key == identity.public_key
    assert restored.sign("test", MESSAGE) == identity.sign("test", MESSAGE)


def test_two_identities_differ():
    assert Identity.generate().public_key != Identity.generate().public_key


def test_a_signature_is_for_one_key_one_context_and_one_message():
    signature = IDENTITY.sign("shares", MESSAGE)
    key = IDENTITY.public_key
    assert verify(key, "shares", MESSAGE, signature)
    assert not verify(key, "unmask", MESSAGE, signature)
    assert not verify(key, "shares", MESSAGE + b".", signature)
    assert not verify(key, "share", b"s" + MESSAGE, signature)
    assert not verify(Identity.generate().public_key, "shares", MESSAGE, signature)
    assert not verify(key, "shares", MESSAGE, signature[:-1])
    assert not verify(b"no key", "shares", MESSAGE, signature)


def test_a_fingerprint_is_16_groups_of_a_sha256():
    # The SHA-256 of nothing is published with the standard.
    expected = "e3b0:c442:98fc:1c14:9afb:f4c8:996f:b924:27ae:41e4:649b:934c:a495:991b:7852:b855"
    assert fingerprint(b"") == expected
    assert fingerprint(IDENTITY.public_key) != fingerprint(Identity.generate().public_key)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_cut_secret_is_refused(size):
    with pytest.raises(AccessFileError, match=f"has 32 bytes, this one has {size}"):
        Identity(bytes(size))
