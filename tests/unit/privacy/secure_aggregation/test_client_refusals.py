"""What a client refuses, whatever the server says."""

import pytest
from pydantic import ValidationError

from fedvsr.errors import RecordError, SecureAggregationError
from fedvsr.privacy.secure_aggregation import client
from fedvsr.privacy.secure_aggregation.client import Participant
from fedvsr.privacy.secure_aggregation.identity import Identity
from fedvsr.privacy.secure_aggregation.lists import DeliveredShares, Roster, Survivors
from fedvsr.privacy.secure_aggregation.messages import Advertise, Unmask
from fedvsr.privacy.secure_aggregation.session import Session, min_threshold, modulus_bits
from fedvsr.privacy.secure_aggregation.session_record import begin_session
from tests.unit.privacy.secure_aggregation.parties import Parties, make_identity, make_session

NAME, OTHER = "client-001", "client-002"
COUNT, THRESHOLD = 5, 4


@pytest.fixture
def parties() -> Parties:
    return Parties(make_session(COUNT, threshold=THRESHOLD, length=64))


def check_refused(reason: str, call, *arguments: object) -> SecureAggregationError:
    with pytest.raises(SecureAggregationError, match=reason) as error:
        call(*arguments)
    assert str(error.value).isprintable()
    return error.value


def without(content: dict, *names: str) -> dict:
    return {name: value for name, value in content.items() if name not in names}


# The session


@pytest.mark.parametrize(("count", "least"), [(3, 2), (4, 3), (10, 6), (99, 50), (100, 51)])
def test_a_threshold_of_half_or_less_is_refused(count, least):
    assert min_threshold(count) == least
    accepted = make_session(count, threshold=least)
    assert Session.from_bytes(accepted.to_bytes()) == accepted
    with pytest.raises(ValidationError, match="with half of them or fewer"):
        make_session(count, threshold=least - 1)
    changed = accepted.to_bytes().replace(b'"threshold":%d' % least, b'"threshold":%d' % (least - 1))
    with pytest.raises(RecordError, match="a server could open one update"):
        Session.from_bytes(changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": ("ann", "bob")},
        {"clients": ("bob", "ann", "cid")},
        {"clients": ("ann", "ann", "bob")},
        {"threshold": 6},
        {"bits": 7},
        {"bits": 33},
        {"length": 0},
        {"agreement": "weights"},
        {"run": "../demo"},
        {"identifier": "a\nb"},
    ],
)
def test_parameters_out_of_range_are_refused(changes):
    with pytest.raises(ValidationError):
        make_session(5, **changes)


def test_the_modulus_holds_the_sum_of_all_clients():
    assert modulus_bits(15, 40) == 10
    assert modulus_bits(1, 3) == 8
    for clients in (3, 40, 100):
        for largest in (15, 255, 65535):
            bits = modulus_bits(largest, clients)
            assert largest * clients < 1 << bits
            assert bits == 8 or largest * clients >= 1 << (bits - 1)


# The client itself


def test_another_secret_than_the_known_one(parties):
    parties.identities[NAME] = Identity.generate()
    check_refused("have the new fingerprint approved", parties.participant, NAME)


def test_a_client_that_is_not_in_the_session(parties):
    identity = make_identity("stranger")
    keys = {**parties.public_keys, "stranger": identity.public_key}
    record = begin_session(parties.session)
    check_refused(
        "not among the session's clients", Participant, "stranger", identity, parties.session, keys, record
    )


def test_a_record_of_another_session(parties):
    parties.records[NAME] = begin_session(make_session(COUNT, round=4))
    check_refused("begin the session with a new record", parties.participant, NAME)


# The roster


def test_a_roster_below_the_threshold(parties):
    parties.advertise()
    few = Roster.create(parties.session, messages=without(parties.roster.messages, OTHER, "client-004"))
    error = check_refused(
        "3 clients advertised keys, the threshold is 4",
        client.share,
        parties.participant(NAME),
        few.to_bytes(),
    )
    assert error.clients == (OTHER, "client-004")


def test_a_peer_whose_long_term_key_is_another(parties):
    """A server that answers in a peer's place has another key, and must not get its shares."""
    parties.advertise()
    parties.public_keys[OTHER] = Identity.generate().public_key
    error = check_refused(
        "must be approved", client.share, parties.participant(NAME), parties.roster.to_bytes()
    )
    assert error.clients == (OTHER,)


def test_a_peer_that_is_not_in_the_session(parties):
    parties.advertise()
    known = Advertise.from_bytes(parties.roster.messages[OTHER])
    keys = known.model_dump(include={"mask_public_key", "share_public_key", "seed_commitment"})
    message = Advertise.create(parties.session, make_identity("stranger"), "stranger", **keys)
    parties.public_keys["stranger"] = make_identity("stranger").public_key
    messages = {**parties.roster.messages, "stranger": message.to_bytes()}
    roster = Roster.create(parties.session, messages=messages)
    error = check_refused("not in this session", client.share, parties.participant(NAME), roster.to_bytes())
    assert error.clients == ("stranger",)


def test_a_roster_with_exchanged_messages(parties):
    parties.advertise()
    messages = {**parties.roster.messages, OTHER: parties.roster.messages["client-003"]}
    roster = Roster.create(parties.session, messages=messages)
    error = check_refused("expected the sender", client.share, parties.participant(NAME), roster.to_bytes())
    assert error.clients == (OTHER,)


def test_a_roster_without_this_client(parties):
    parties.advertise()
    roster = Roster.create(parties.session, messages=without(parties.roster.messages, NAME))
    check_refused(
        "does not have the keys that client 'client-001' sent",
        client.share,
        parties.participant(NAME),
        roster.to_bytes(),
    )


def test_a_roster_of_another_session(parties):
    parties.advertise()
    other = Parties(make_session(COUNT, threshold=THRESHOLD, length=64, round=4))
    other.advertise()
    check_refused(
        "the roster is refused: expected the round 3, 4 came",
        client.share,
        parties.participant(NAME),
        other.roster.to_bytes(),
    )


def test_peers_that_were_shown_other_weights(parties):
    """The aggregation weights are in the session's digest, which every client signs."""
    other = Parties(make_session(COUNT, threshold=THRESHOLD, length=64, agreement="0" * 64))
    other.advertise()
    parties.advertise()
    messages = {**parties.roster.messages, OTHER: other.roster.messages[OTHER]}
    roster = Roster.create(parties.session, messages=messages)
    error = check_refused("expected the session", client.share, parties.participant(NAME), roster.to_bytes())
    assert error.clients == (OTHER,)


def test_a_second_roster(parties):
    parties.go_to("share")
    fewer = Roster.create(parties.session, messages=without(parties.roster.messages, OTHER)).to_bytes()
    participant = parties.participant(NAME)
    check_refused(
        "differs from the one that the client's shares were made for", client.share, participant, fewer
    )
    _, delivered = parties.lists(NAME)
    vector = parties.vectors[NAME]
    check_refused("differs from the one", client.mask, participant, fewer, delivered, vector)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 3000, b"x" * (1 << 20)])
def test_what_is_no_list(parties, data):
    parties.go_to("mask")
    participant = parties.participant(NAME)
    roster, delivered = parties.lists(NAME)
    vector = parties.vectors[NAME]
    check_refused("expected the roster", client.share, participant, data)
    check_refused("expected the list of share senders", client.mask, participant, roster, data, vector)
    check_refused("expected the list of survivors", client.unmask, participant, roster, delivered, data)


# The share senders


def deliver(parties: Parties, **changes: object) -> bytes:
    table = parties.table.deliver(NAME)
    content = {"roster": table.roster, "recipient": table.recipient, "sealed": table.sealed} | changes
    return DeliveredShares.create(parties.session, **content).to_bytes()


def test_share_senders_below_the_threshold(parties):
    parties.go_to("share")
    roster, _ = parties.lists(NAME)
    few = deliver(parties, sealed=without(parties.table.deliver(NAME).sealed, OTHER, "client-004"))
    error = check_refused(
        "3 clients sent shares", client.mask, parties.participant(NAME), roster, few, parties.vectors[NAME]
    )
    assert error.clients == (OTHER, "client-004")


def test_shares_for_another_client(parties):
    parties.go_to("share")
    roster, other = parties.lists(OTHER)
    participant, vector = parties.participant(NAME), parties.vectors[NAME]
    check_refused("for another client or roster", client.mask, participant, roster, other, vector)
    relabelled = deliver(parties, sealed=parties.table.deliver(OTHER).sealed)
    error = check_refused(
        "encrypted for another client", client.mask, participant, roster, relabelled, vector
    )
    assert len(error.clients) == 1


def test_exchanged_shares_name_the_sender(parties):
    parties.go_to("share")
    roster, _ = parties.lists(NAME)
    sealed = parties.table.deliver(NAME).sealed
    swapped = deliver(parties, sealed={**sealed, OTHER: sealed["client-003"]})
    error = check_refused(
        "is refused: they were changed",
        client.mask,
        parties.participant(NAME),
        roster,
        swapped,
        parties.vectors[NAME],
    )
    assert error.clients == (OTHER,)


def test_changed_commitments_name_the_sender(parties):
    parties.go_to("share")
    roster, _ = parties.lists(NAME)
    sealed = parties.table.deliver(NAME).sealed
    changed = sealed[OTHER].model_copy(update={"seed_commitment": bytes(32)})
    data = deliver(parties, sealed={**sealed, OTHER: changed})
    error = check_refused(
        "is refused: they were changed",
        client.mask,
        parties.participant(NAME),
        roster,
        data,
        parties.vectors[NAME],
    )
    assert error.clients == (OTHER,)


def test_other_share_senders_after_masking(parties):
    parties.go_to("mask")
    roster, _ = parties.lists(NAME)
    fewer = deliver(parties, sealed=without(parties.table.deliver(NAME).sealed, OTHER))
    participant = parties.participant(NAME)
    survivors = parties.survivors.to_bytes()
    check_refused("masked for", client.unmask, participant, roster, fewer, survivors)
    check_refused("masked for", client.mask, participant, roster, fewer, parties.vectors[NAME])


# The vector


def test_a_vector_that_does_not_fit(parties):
    parties.go_to("share")
    lists, participant = parties.lists(NAME), parties.participant(NAME)
    vector = parties.vectors[NAME]
    check_refused("64 unsigned integers", client.mask, participant, *lists, vector[:-1])
    check_refused("came float32", client.mask, participant, *lists, vector.astype("float32"))
    vector[3] = 1 << parties.session.bits
    check_refused(r"values below 2\^20, 1048576 came", client.mask, participant, *lists, vector)


def test_a_vector_before_the_shares(parties):
    parties.go_to("share")
    parties.records[NAME] = parties.records[NAME].model_copy(update={"shares": None})
    check_refused(
        "share first", client.mask, parties.participant(NAME), *parties.lists(NAME), parties.vectors[NAME]
    )


# The survivors


def survive(parties: Parties, *clients: str) -> bytes:
    return Survivors.create(parties.session, senders=parties.table.senders_digest, clients=clients).to_bytes()


def check_survivors_refused(parties: Parties, reason: str, *clients: str) -> SecureAggregationError:
    survivors = survive(parties, *clients)
    return check_refused(reason, client.unmask, parties.participant(NAME), *parties.lists(NAME), survivors)


def test_survivors_below_the_threshold(parties):
    parties.go_to("mask")
    error = check_survivors_refused(parties, "3 clients sent masked updates", *parties.session.clients[:3])
    assert error.clients == parties.session.clients[3:]


def test_survivors_that_sent_no_shares(parties):
    parties.advertise()
    parties.share(parties.session.clients[:-1])
    parties.mask()
    check_survivors_refused(parties, "not among the senders: client-004", *parties.session.clients)


def test_survivors_without_this_client(parties):
    parties.go_to("mask")
    others = [name for name in parties.session.clients if name != NAME]
    check_survivors_refused(parties, "'client-001' among them", *others)


def test_survivors_out_of_order_or_twice(parties):
    parties.go_to("mask")
    check_survivors_refused(parties, "not sorted", *reversed(parties.session.clients))
    check_survivors_refused(parties, "not sorted", NAME, *parties.session.clients)


def test_survivors_before_the_masked_update(parties):
    parties.go_to("share")
    check_survivors_refused(parties, "mask first", *parties.session.clients)


def test_a_second_list_of_survivors(parties):
    """With both answers, the server would have shares of both secrets of the last client."""
    parties.go_to("unmask")
    fewer = parties.session.clients[:-1]
    check_survivors_refused(parties, "answers the first list only", *fewer)


def test_no_answer_has_both_secrets_of_a_client(parties):
    parties.go_to("share")
    parties.mask(parties.session.clients[:-1])
    parties.unmask()
    for data in parties.unmasked.values():
        answer = Unmask.from_bytes(data)
        assert answer.seeds.keys().isdisjoint(answer.mask_keys)
        assert answer.seeds.keys() | answer.mask_keys.keys() == set(parties.session.clients)
