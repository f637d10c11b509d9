"""The opened sum is the plain sum of those who stayed, whoever drops out, in whatever order they come."""

import numpy as np
import pytest

from fedvsr.errors import SecureAggregationError
from tests.unit.privacy.secure_aggregation.parties import Parties, make_session


def run(parties: Parties, drop_at: str, dropped: int) -> None:
    """Goes through all phases; the last ``dropped`` clients send nothing from a phase on."""
    clients = parties.session.clients
    staying = clients[: len(clients) - dropped]
    is_dropped = False
    for step in ("advertise", "share", "mask", "unmask"):
        is_dropped = is_dropped or step == drop_at
        getattr(parties, step)(staying if is_dropped else clients)
    expected = staying if drop_at in ("advertise", "share", "mask") else clients
    assert parties.survivors.clients == expected
    np.testing.assert_array_equal(parties.open(), parties.plain_sum(expected))


@pytest.mark.parametrize("drop_at", ["advertise", "share", "mask", "unmask"])
@pytest.mark.parametrize(("count", "dropped"), [(3, 1), (10, 1), (10, 3)])
def test_a_third_drops_out_at_any_phase(count, dropped, drop_at):
    run(Parties(make_session(count)), drop_at, dropped)


def test_a_third_of_40_clients_drops_out():
    run(Parties(make_session(40, length=200)), "mask", 13)


@pytest.mark.parametrize("count", [3, 10])
def test_nobody_drops_out(count):
    run(Parties(make_session(count)), "never", 0)


def test_clients_drop_out_at_every_phase():
    parties = Parties(make_session(10, threshold=6))
    clients = parties.session.clients
    parties.advertise(clients[:9])
    parties.share(clients[1:9])
    parties.mask(clients[1:8])
    parties.unmask(clients[2:8])
    np.testing.assert_array_equal(parties.open(), parties.plain_sum(clients[1:8]))


@pytest.mark.parametrize("bits", [8, 9, 12, 16, 17, 31, 32])
@pytest.mark.parametrize("length", [1, 13, (1 << 16) + 5])
def test_any_modulus_and_length(bits, length):
    run(Parties(make_session(3, bits=bits, length=length)), "mask", 1)


def test_the_sum_is_modulo_two_to_the_k():
    parties = Parties(make_session(3, bits=9))
    for name in parties.session.clients:
        parties.vectors[name] = np.full(1000, 511, np.uint16)
    parties.go_to("unmask")
    assert (parties.open() == 3 * 511 % 512).all()


def test_the_order_of_arrival_does_not_matter():
    parties = Parties(make_session(10)).go_to("unmask")
    opened = parties.open()
    parties.sum = parties.add(dict(reversed(parties.masked.items())))
    np.testing.assert_array_equal(parties.open(), opened)


@pytest.mark.parametrize("phase", ["advertise", "share", "mask", "unmask"])
def test_too_few_clients_open_nothing_and_the_missing_are_named(phase):
    parties = Parties(make_session(10, threshold=7))
    clients = parties.session.clients

    def run_short() -> None:
        for step in ("advertise", "share", "mask", "unmask"):
            getattr(parties, step)(clients[:6] if step == phase else clients)
        parties.open()

    with pytest.raises(SecureAggregationError, match=r"the threshold is 7.*nothing is opened") as error:
        run_short()
    assert error.value.clients == clients[6:]
    assert clients[9] in str(error.value)


def test_a_sum_of_others_than_the_published_survivors_is_not_opened():
    parties = Parties(make_session(10)).go_to("unmask")
    parties.sum = parties.add(dict(list(parties.masked.items())[1:]))
    with pytest.raises(SecureAggregationError, match="add the masked updates of exactly the survivors"):
        parties.open()
