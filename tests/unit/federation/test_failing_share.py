"""Clients that fail on purpose, for studies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.config.run import FederationConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.sampling import failing_clients

CLIENTS = tuple(f"client-{number}" for number in range(8))


@given(st.integers(1, 50), st.floats(0, 0.999))
def test_the_share_is_rounded_and_never_all_clients_fail(clients, share):
    count = FederationConfig(failing_share=share).failing_count(clients)
    assert count <= clients - 1
    assert count == clients - 1 or abs(count - share * clients) <= 0.5


@given(st.integers(0, 7), st.integers(0, 1000), st.integers(1, 100))
def test_the_draw_depends_on_seed_and_round_alone(count, seed, round_number):
    drawn = failing_clients(CLIENTS, count, "run", seed, round_number)
    assert len(drawn) == count
    assert drawn <= set(CLIENTS)
    assert drawn == failing_clients(CLIENTS[::-1], count, "run", seed, round_number)


def test_other_rounds_lose_other_clients():
    draws = {failing_clients(CLIENTS, 4, "run", 1, round_number) for round_number in range(1, 20)}
    assert len(draws) > 10


def test_a_quorum_that_the_rest_cannot_meet_is_refused():
    values = {"clients": ["a", "b", "c", "d"], "quorum": 3}
    with pytest.raises(
        ConfigError, match=r"failing_share: 0.5 is not allowed; it must leave the quorum of 3"
    ):
        FederationConfig.parse({**values, "failing_share": 0.5})
    assert FederationConfig.parse({**values, "failing_share": 0.25}).failing_count(4) == 1
