"""What a server with every message, and too few shares, cannot do."""

import base64
import itertools

import numpy as np
import pytest

from fedvsr.codecs.packing import packed_size, unpack, word_dtype
from fedvsr.privacy.secure_aggregation.masks import (
    MaskStreams,
    pairwise_mask,
    self_mask,
    word_mask,
)
from fedvsr.privacy.secure_aggregation.sealed_shares import open_shares, share_encryption_key
from fedvsr.privacy.secure_aggregation.session_keys import SessionKeys, commit_seed, public_key_of
from fedvsr.privacy.secure_aggregation.shamir import combine_shares
from tests.unit.privacy.secure_aggregation.parties import Parties, make_session

COUNT, THRESHOLD = 7, 5
TARGET = "client-003"


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(make_session(COUNT, threshold=THRESHOLD)).go_to("unmask")


def all_shares(parties: Parties, secret: str) -> dict[int, bytes]:
    """The target's shares, which its peers hold; the server never has them all."""
    shares = {}
    for number, holder in enumerate(parties.roster.clients, 1):
        route = parties.participant(holder).route(parties.roster.digest, TARGET, holder)
        public_key = keys_of(parties).share_public_key
        key = share_encryption_key(keys_of(parties, holder), public_key, holder, route)
        pair = open_shares(key, route, parties.table.sealed(TARGET, holder))
        shares[number] = getattr(pair, secret)
    return shares


def keys_of(parties: Parties, name: str = TARGET) -> SessionKeys:
    record = parties.records[name]
    return SessionKeys.derive(parties.identities[name], record.session, record.nonce)


def remove_masks(parties: Parties, masks: list) -> np.ndarray:
    session = parties.session
    packed = parties.masked[TARGET][-packed_size(session.length, session.bits) :]
    words = unpack(packed, session.bits, session.length).astype(word_dtype(session.bits))
    MaskStreams([mask.reversed() for mask in masks], words.dtype).apply(words)
    return words & word_mask(session.bits)


@pytest.mark.parametrize("secret", ["seed", "mask_key"])
def test_the_threshold_opens_a_secret_and_one_share_fewer_never_does(parties, secret):
    shares = all_shares(parties, secret)
    truth = getattr(keys_of(parties), secret)
    for chosen in itertools.combinations(shares, THRESHOLD):
        assert combine_shares({number: shares[number] for number in chosen}) == truth
    for chosen in itertools.combinations(shares, THRESHOLD - 1):
        few = {number: shares[number] for number in chosen}
        wrong = [combine_shares(few)]
        # One share too few, and a guess in place of the missing one.
        others = [number for number in shares if number not in few]
        wrong += [combine_shares({**few, number: bytes(range(32))}) for number in others]
        wrong += [combine_shares({**few, number: shares[chosen[0]]}) for number in others]
        assert truth not in wrong
        for guess in wrong:
            assert public_key_of(guess) != keys_of(parties).mask_public_key
            assert commit_seed(parties.session.digest, TARGET, guess) != commit_seed(
                parties.session.digest, TARGET, keys_of(parties).seed
            )


def test_an_update_opens_with_both_secrets_and_with_neither_alone(parties):
    digest, keys = parties.session.digest, keys_of(parties)
    own = self_mask(keys.seed, digest, TARGET)
    pairwise = [
        pairwise_mask(keys.mask_key, keys_of(parties, peer).mask_public_key, digest, TARGET, peer)
        for peer in parties.session.clients
        if peer != TARGET
    ]
    vector = parties.vectors[TARGET]
    # The attack itself works, so the next three results mean something.
    np.testing.assert_array_equal(remove_masks(parties, [own, *pairwise]), vector)
    for masks in ([own], pairwise, [own, *pairwise[1:]]):
        opened = remove_masks(parties, masks)
        assert (opened == vector).mean() < 0.01
        assert abs(np.corrcoef(opened, vector)[0, 1]) < 0.15


def test_no_message_has_a_secret_in_the_clear(parties):
    keys = keys_of(parties)
    sent = [
        *parties.advertised.values(),
        *parties.shared.values(),
        *parties.masked.values(),
        parties.roster.to_bytes(),
    ]
    for secret in (keys.seed, keys.mask_key, keys.share_key, parties.identities[TARGET].to_bytes()):
        for half in (secret, secret[:16], secret[16:]):
            for form in (half, half.hex().encode(), base64.urlsafe_b64encode(half)[:20]):
                assert all(form not in data for data in sent)


def test_nothing_prints_a_secret(parties):
    participant = parties.participant(TARGET)
    printed = repr(participant.identity) + repr(participant.keys)
    for secret in (keys_of(parties).seed, parties.identities[TARGET].to_bytes()):
        assert secret.hex() not in printed
        assert repr(secret)[2:-1] not in printed
