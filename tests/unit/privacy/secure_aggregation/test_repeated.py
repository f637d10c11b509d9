"""A killed client gives the same bytes again; no two sessions share a mask."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from fedvsr.codecs.packing import packed_size
from fedvsr.errors import SecureAggregationError
from fedvsr.privacy.secure_aggregation import client
from fedvsr.privacy.secure_aggregation.session_record import SessionRecord, begin_session
from tests.unit.privacy.secure_aggregation.parties import Parties, make_session

NAME = "client-001"
# So many bits that a packed vector is its words: bytes of the mask and nothing else.
UNIFORM = {"bits": 16, "length": 50_000}


def vector_bytes(parties: Parties, name: str = NAME) -> np.ndarray:
    size = packed_size(parties.session.length, parties.session.bits)
    return np.frombuffer(parties.masked[name][-size:], np.uint8)


def after_a_restart(parties: Parties, name: str = NAME) -> None:
    """What a new process has: the long-term secret and the stored record."""
    stored = parties.records[name].to_bytes()
    parties.records[name] = SessionRecord.from_bytes(stored, len(parties.session.clients))


def test_every_phase_gives_the_same_bytes_after_a_restart():
    parties = Parties(make_session(5)).go_to("unmask")
    first = [dict(sent) for sent in (parties.advertised, parties.shared, parties.masked, parties.unmasked)]
    for name in parties.session.clients:
        after_a_restart(parties, name)
    parties.go_to("unmask")
    assert [parties.advertised, parties.shared, parties.masked, parties.unmasked] == first


def test_a_restart_before_the_record_was_stored_changes_nothing_but_the_shares():
    parties = Parties(make_session(5)).go_to("advertise")
    record, advertised = parties.records[NAME], parties.advertised[NAME]
    first = client.share(parties.participant(NAME), parties.roster.to_bytes())
    second = client.share(parties.participant(NAME), parties.roster.to_bytes())
    assert first.shares != second.shares
    assert first.nonce == second.nonce == record.nonce
    assert client.advertise(parties.participant(NAME)) == advertised


def test_a_nonce_is_drawn_for_every_session():
    session = make_session(3)
    assert begin_session(session).nonce != begin_session(session).nonce


def test_one_session_masks_one_vector():
    parties = Parties(make_session(5)).go_to("mask")
    parties.vectors[NAME] = parties.vectors[NAME] ^ 1
    with pytest.raises(SecureAggregationError, match="masked another vector"):
        parties.mask([NAME])


def test_a_masked_vector_looks_uniform():
    parties = Parties(make_session(3, **UNIFORM))
    for name in parties.session.clients:
        parties.vectors[name] = np.zeros(50_000, np.uint16)
    parties.go_to("mask")
    for name in parties.session.clients:
        counts = np.bincount(vector_bytes(parties, name), minlength=256)
        assert chisquare(counts).pvalue > 0.001


def fraction_equal(one: np.ndarray, other: np.ndarray) -> float:
    return float((one == other).mean())


def masked_in(parties: Parties) -> np.ndarray:
    return vector_bytes(parties.go_to("mask"))


def test_a_masked_update_repeats_in_no_other_session():
    sessions = [
        Parties(make_session(3, **UNIFORM)),
        Parties(make_session(3, **UNIFORM, identifier="second")),
        Parties(make_session(3, **UNIFORM, round=4)),
    ]
    # The run was deleted and repeated under its name: only the nonces differ.
    repeated = Parties(make_session(3, **UNIFORM))
    for name in repeated.session.clients:
        repeated.records[name] = begin_session(repeated.session).model_copy(update={"nonce": bytes(32)})
    # Another update of the same client.
    other_update = Parties(make_session(3, **UNIFORM, round=5))
    other_update.vectors[NAME] = other_update.vectors[NAME] // 2
    masked = [masked_in(parties) for parties in (*sessions, repeated, other_update)]
    for one, other in itertools.combinations(masked, 2):
        # Two uniform bytes are equal with probability 1/256; 100,000 of them: ± 0.0002.
        assert abs(fraction_equal(one, other) - 1 / 256) < 0.001
        counts = np.bincount(one - other, minlength=256)
        assert chisquare(counts).pvalue > 0.001


def test_the_updates_of_two_clients_repeat_nowhere():
    parties = Parties(make_session(3, **UNIFORM)).go_to("mask")
    for one, other in itertools.combinations(parties.session.clients, 2):
        difference = vector_bytes(parties, one) - vector_bytes(parties, other)
        assert chisquare(np.bincount(difference, minlength=256)).pvalue > 0.001
