"""The server refuses every message that is not what its client sent for this phase, and names the client."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import save

from fedvsr.errors import SecureAggregationError
from fedvsr.privacy.secure_aggregation import server
from fedvsr.privacy.secure_aggregation.identity import Identity
from fedvsr.privacy.secure_aggregation.masked_vector import max_masked_update_bytes, read_masked_update
from fedvsr.privacy.secure_aggregation.messages import Advertise, Shares, Unmask
from fedvsr.privacy.secure_aggregation.sealed_shares import SharePair, seal_shares, share_encryption_key
from fedvsr.privacy.secure_aggregation.server import MaskedSum
from fedvsr.privacy.secure_aggregation.session_keys import SessionKeys
from fedvsr.privacy.secure_aggregation.shamir import split_secret
from tests.unit.privacy.secure_aggregation.parties import Parties, make_session

PHASES = ("advertised", "shared", "masked", "unmasked")
COUNT = 4
NAME, OTHER, DROPPED = "client-001", "client-002", "client-003"


def complete(**changes: object) -> Parties:
    """A session of four clients, of whom one drops out before it sends its masked update."""
    parties = Parties(make_session(COUNT, threshold=3, bits=12, length=64, **changes))
    parties.go_to("share")
    parties.mask(parties.session.clients[:-1])
    parties.unmask()
    return parties


@pytest.fixture(scope="module")
def parties() -> Parties:
    return complete()


@pytest.fixture(scope="module")
def strangers() -> dict[str, Parties]:
    """The same clients elsewhere."""
    return {
        "round": complete(round=4),
        "session": complete(identifier="second"),
        "run": complete(run="other"),
        "parameters": complete(agreement="0" * 64),
    }


def read(parties: Parties, phase: str, name: str, data: bytes) -> object:
    """What the server does with a message of a phase."""
    if phase == "advertised":
        return server.read_advertise(parties.session, parties.public_keys, name, data)
    if phase == "shared":
        return server.read_shares(parties.session, parties.public_keys, parties.roster, name, data)
    if phase == "unmasked":
        return server.read_unmask(parties.table, parties.public_keys, parties.survivors, name, data)
    return MaskedSum(parties.table, parties.public_keys).add(name, data)


def check_refused(parties: Parties, phase: str, data: bytes, reason: str, name: str = NAME) -> None:
    with pytest.raises(SecureAggregationError, match=reason) as error:
        read(parties, phase, name, data)
    assert error.value.clients == (name,)
    assert f"client {name!r}" in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("phase", PHASES)
def test_what_a_client_sent_is_read(parties, phase):
    read(parties, phase, NAME, getattr(parties, phase)[NAME])


@pytest.mark.parametrize("phase", PHASES)
def test_another_clients_message(parties, phase):
    check_refused(parties, phase, getattr(parties, phase)[OTHER], "expected the sender 'client-001'")


@pytest.mark.parametrize(
    ("place", "field"),
    [("round", "round"), ("session", "session"), ("run", "run"), ("parameters", "session")],
)
@pytest.mark.parametrize("phase", PHASES)
def test_a_message_from_elsewhere(parties, strangers, phase, place, field):
    check_refused(parties, phase, getattr(strangers[place], phase)[NAME], f"expected the {field} ")


@pytest.mark.parametrize("sent_in", PHASES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_message_of_another_phase(parties, phase, sent_in):
    if phase != sent_in:
        check_refused(parties, phase, getattr(parties, sent_in)[NAME], "expected")


@pytest.mark.parametrize("phase", PHASES)
def test_a_truncated_message_at_any_length(parties, phase):
    data = getattr(parties, phase)[NAME]
    for size in {0, 1, 7, 8, 9, len(data) // 2, len(data) - 2, len(data) - 1}:
        check_refused(parties, phase, data[:size], "expected")


@pytest.mark.parametrize("phase", PHASES)
def test_a_flipped_bit_anywhere(parties, phase):
    data = getattr(parties, phase)[NAME]
    positions = np.random.default_rng(0).choice(len(data), 100, replace=False)
    for position in (*positions, 0, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(SecureAggregationError) as error:
            read(parties, phase, NAME, bytes(changed))
        assert error.value.clients == (NAME,)


@pytest.mark.parametrize("phase", PHASES)
def test_a_message_that_is_too_large_is_not_parsed(parties, phase):
    data = getattr(parties, phase)[NAME]
    check_refused(parties, phase, data + b" ", "expected")
    limit = max_masked_update_bytes(parties.session) if phase == "masked" else Shares.max_bytes(COUNT)
    check_refused(parties, phase, b"[" * (limit + 1), f"bytes, {limit + 1} came")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"[" * 1500, b'{"phase":"\x00"}', b"\xff" * 1500, b'{"a":1,"a":2}']
)
def test_what_is_no_message(parties, phase, data):
    check_refused(parties, phase, data, "expected")


@pytest.mark.parametrize("phase", ["advertised", "shared", "unmasked"])
def test_the_same_content_in_another_encoding(parties, phase):
    content = json.loads(getattr(parties, phase)[NAME])
    check_refused(parties, phase, json.dumps(content, sort_keys=True).encode(), "in its one encoding")
    check_refused(parties, phase, json.dumps({**content, "more": 1}).encode(), "more")


@pytest.mark.parametrize("phase", PHASES)
def test_a_message_signed_by_another_key(parties, phase):
    keys = {**parties.public_keys, NAME: Identity.generate().public_key}
    changed = Parties(parties.session)
    changed.__dict__.update(parties.__dict__, public_keys=keys)
    check_refused(changed, phase, getattr(parties, phase)[NAME], "another came.*must be approved")


@pytest.mark.parametrize("phase", PHASES)
def test_a_client_without_a_known_key(parties, phase):
    keys = {name: key for name, key in parties.public_keys.items() if name != NAME}
    changed = Parties(parties.session)
    changed.__dict__.update(parties.__dict__, public_keys=keys)
    check_refused(changed, phase, getattr(parties, phase)[NAME], "not known; approve it first")


# Clients that lie: what they send is well-formed and signed.


def test_a_public_key_of_low_order(parties):
    advertised = Advertise.from_bytes(parties.advertised[NAME])
    content = {
        "mask_public_key": bytes(32),
        "share_public_key": advertised.share_public_key,
        "seed_commitment": advertised.seed_commitment,
    }
    forged = Advertise.create(parties.session, parties.identities[NAME], NAME, **content)
    check_refused(parties, "advertised", forged.to_bytes(), "low order")


def test_shares_for_others_than_the_roster(parties):
    shares = Shares.from_bytes(parties.shared[NAME])
    fewer = {name: sealed for name, sealed in shares.sealed.items() if name != OTHER}
    forged = Shares.create(
        parties.session, parties.identities[NAME], NAME, roster=shares.roster, sealed=fewer
    )
    check_refused(parties, "shared", forged.to_bytes(), f"different: {OTHER}")
    forged = Shares.create(
        parties.session, parties.identities[NAME], NAME, roster="0" * 64, sealed=shares.sealed
    )
    check_refused(parties, "shared", forged.to_bytes(), "for another roster")


def test_a_second_masked_update(parties):
    masked_sum = MaskedSum(parties.table, parties.public_keys)
    masked_sum.add(NAME, parties.masked[NAME])
    before = masked_sum.words.copy()
    with pytest.raises(SecureAggregationError, match="in the sum already") as error:
        masked_sum.add(NAME, parties.masked[NAME])
    assert error.value.clients == (NAME,)
    np.testing.assert_array_equal(masked_sum.words, before)


def test_a_refused_masked_update_leaves_the_sum_as_it_was(parties):
    masked_sum = MaskedSum(parties.table, parties.public_keys)
    masked_sum.add(NAME, parties.masked[NAME])
    before = masked_sum.words.copy()
    changed = parties.masked[OTHER][:-1] + bytes([parties.masked[OTHER][-1] ^ 1])
    with pytest.raises(SecureAggregationError, match="it was changed"):
        masked_sum.add(OTHER, changed)
    np.testing.assert_array_equal(masked_sum.words, before)
    assert masked_sum.clients == (NAME,)


def test_a_masked_update_of_a_client_that_sent_no_shares():
    parties = Parties(make_session(COUNT, threshold=3, length=64)).go_to("advertise")
    parties.share(parties.session.clients[:-1])
    parties.mask()
    masked_sum = MaskedSum(parties.table, parties.public_keys)
    with pytest.raises(SecureAggregationError, match="sent no shares") as error:
        masked_sum.add(DROPPED, parties.masked[NAME])
    assert error.value.clients == (DROPPED,)


def test_a_masked_update_for_another_list_of_senders(parties):
    with pytest.raises(SecureAggregationError, match="masked for another list") as error:
        read_masked_update(parties.session, parties.public_keys, NAME, "0" * 64, parties.masked[NAME])
    assert error.value.clients == (NAME,)


@pytest.mark.parametrize(
    "tensors",
    [
        {"other": np.zeros(96, np.uint8)},
        {"masked": np.zeros((2, 48), np.uint8)},
        {"masked": np.zeros(48, np.uint16)},
        {"masked": np.zeros(48, np.uint8), "more": np.zeros(48, np.uint8)},
    ],
)
def test_a_file_with_other_tensors(parties, tensors):
    data = parties.masked[NAME]
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    check_refused(parties, "masked", save(tensors, header["__metadata__"]), "expected one tensor 'masked'")


def test_a_file_without_a_signed_header(parties):
    data = save({"masked": np.zeros(96, np.uint8)})
    check_refused(parties, "masked", data, "expected a safetensors file with a signed header")


def unmask_as(parties: Parties, **changes: object) -> bytes:
    answer = Unmask.from_bytes(parties.unmasked[NAME])
    content = {"survivors": answer.survivors, "seeds": answer.seeds, "mask_keys": answer.mask_keys}
    content |= changes
    return Unmask.create(parties.session, parties.identities[NAME], NAME, **content).to_bytes()


def test_an_answer_to_another_list_of_survivors(parties):
    check_refused(
        parties, "unmasked", unmask_as(parties, survivors="0" * 64), "answers another list of survivors"
    )


def test_an_answer_with_other_shares(parties):
    seeds = Unmask.from_bytes(parties.unmasked[NAME]).seeds
    fewer = dict(list(seeds.items())[1:])
    check_refused(parties, "unmasked", unmask_as(parties, seeds=fewer), "others came")
    check_refused(parties, "unmasked", unmask_as(parties, mask_keys={}), "others came")
    more = {**seeds, DROPPED: bytes(32)}
    check_refused(parties, "unmasked", unmask_as(parties, seeds=more), "others came")


@pytest.mark.parametrize(("field", "owner"), [("seeds", OTHER), ("mask_keys", DROPPED)])
def test_a_wrong_share_names_the_client_that_opened_it(parties, field, owner):
    shares = getattr(Unmask.from_bytes(parties.unmasked[NAME]), field)
    changed = unmask_as(parties, **{field: {**shares, owner: bytes(32)}})
    check_refused(parties, "unmasked", changed, f"share of the .* of '{owner}' .* committed to")


def lying_share(parties: Parties, name: str, lie: Callable[[SessionKeys], tuple[bytes, bytes]]) -> bytes:
    """A client's message of phase 2 with shares of other secrets than it advertised."""
    participant = parties.participant(name)
    clients, threshold = parties.roster.clients, parties.session.threshold
    split = [split_secret(secret, threshold, len(clients)) for secret in lie(participant.keys)]
    sealed = {}
    for holder, seed, mask_key in zip(clients, *split, strict=True):
        route = participant.route(parties.roster.digest, name, holder)
        peer = Advertise.from_bytes(parties.advertised[holder]).share_public_key
        key = share_encryption_key(participant.keys, peer, name, route)
        sealed[holder] = seal_shares(key, route, SharePair(seed, mask_key))
    identity = parties.identities[name]
    return Shares.create(
        parties.session, identity, name, roster=parties.roster.digest, sealed=sealed
    ).to_bytes()


@pytest.mark.parametrize(
    ("name", "lie", "secret"),
    [
        (OTHER, lambda keys: (bytes(32), keys.mask_key), "self-mask seed"),
        (DROPPED, lambda keys: (keys.seed, bytes(32)), "mask key"),
    ],
)
def test_shares_of_another_secret_name_the_client_that_shared_it(name, lie, secret):
    parties = Parties(make_session(COUNT, threshold=3, length=64)).go_to("share")
    parties.shared[name] = lying_share(parties, name, lie)
    parties.share([])
    parties.mask(parties.session.clients[:-1])
    parties.unmask()
    with pytest.raises(SecureAggregationError, match=f"do not give the {secret}") as error:
        parties.open()
    assert error.value.clients == (name,)


def test_a_refused_answer_does_not_stop_the_others():
    parties = Parties(make_session(COUNT, threshold=3, length=64)).go_to("unmask")
    parties.unmasked[NAME] = unmask_as(parties, seeds=dict.fromkeys(parties.session.clients, bytes(32)))
    with pytest.raises(SecureAggregationError) as error:
        parties.open()
    del parties.unmasked[error.value.clients[0]]
    np.testing.assert_array_equal(parties.open(), parties.plain_sum(parties.session.clients))
