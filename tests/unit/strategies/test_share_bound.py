"""No client's share of the aggregate exceeds the bound, and nothing changes if none does."""

import math
import statistics
import sys

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fedvsr.strategies.base import Contribution, RoundContext
from fedvsr.strategies.registry import build_strategy, strategy_names
from fedvsr.strategies.share_bound import bound_claims, bound_shares, largest_share

FACTORS = st.floats(1, 50)
# What clients claim. A share may be 0 in float64, beside a huge claim.
CLAIMS = st.lists(st.one_of(st.floats(1e-3, 1e3), st.floats(0, 1e300)), min_size=2, max_size=12)


def shares_of(claims) -> dict[str, float]:
    total = math.fsum(claims)
    assume(total > 1e-300)
    return {f"client-{index:02d}": claim / total for index, claim in enumerate(claims)}


@example(claims=[12.0, sys.float_info.min], factor=2.0)
@given(claims=CLAIMS, factor=FACTORS)
def test_bounded_shares_are_a_distribution_that_keeps_the_bound_and_the_order(claims, factor):
    shares = shares_of(claims)
    bounded = bound_shares(shares, factor)
    assert list(bounded) == list(shares)
    assert math.fsum(bounded.values()) == pytest.approx(1, abs=1e-9)
    for client, share in bounded.items():
        # At most `factor` times the mean of the others.
        assert share * (len(shares) - 1) <= factor * (1 - share) + 1e-6
        for other, other_share in bounded.items():
            assert shares[client] < shares[other] or share >= other_share * (1 - 1e-9)


@given(claims=CLAIMS, factor=FACTORS)
def test_shares_within_the_bound_stay_bit_by_bit(claims, factor):
    shares = shares_of(claims)
    assume(max(shares.values()) <= largest_share(len(shares), factor))
    assert bound_shares(shares, factor) == shares


@given(claims=CLAIMS)
def test_without_a_bound_every_share_stays(claims):
    shares = shares_of(claims)
    assert bound_shares(shares, math.inf) == shares


@given(claims=CLAIMS, factor=FACTORS, data=st.data())
def test_bounded_shares_do_not_depend_on_the_order_of_the_clients(claims, factor, data):
    shares = shares_of(claims)
    order = data.draw(st.permutations(list(shares)))
    assert bound_shares({client: shares[client] for client in order}, factor) == bound_shares(shares, factor)


@given(claims=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12), factor=st.floats(1.1, 50))
def test_the_cut_off_shares_fill_the_others_up_like_water(claims, factor):
    shares = shares_of(claims)
    bound = largest_share(len(shares), factor)
    # By bisection: the level at which the shares, scaled and cut to the bound, sum to 1.
    low, high = 1.0, 1e9
    for _ in range(200):
        level = (low + high) / 2
        total = math.fsum(min(bound, level * share) for share in shares.values())
        low, high = (level, high) if total < 1 else (low, level)
    assert bound_shares(shares, factor) == pytest.approx(
        {client: min(bound, low * share) for client, share in shares.items()}, rel=1e-6
    )


@pytest.mark.parametrize(
    ("shares", "factor", "expected"),
    [
        # 2/(2 + 2) = ½; the others keep their ratio of 3 to 1.
        ([0.92, 0.06, 0.02], 2, [0.5, 0.375, 0.125]),
        # Two clients: 2/(1 + 2).
        ([1.0, 0.0], 2, [2 / 3, 1 / 3]),
        # 2/(3 + 2) = 0.4; the second is cut too, since it would have 0.45 · 0.6/0.5 = 0.54. 0.2 remain.
        ([0.5, 0.45, 0.03, 0.02], 2, [0.4, 0.4, 0.12, 0.08]),
        # Two liars of five have at most 2 · 2/(4 + 2).
        ([0.5, 0.5, 0.0, 0.0, 0.0], 2, [1 / 3, 1 / 3, 1 / 9, 1 / 9, 1 / 9]),
        # The factor 1 makes all equal.
        ([0.7, 0.2, 0.1], 1, [1 / 3, 1 / 3, 1 / 3]),
        ([1.0], 2, [1.0]),
    ],
)
def test_shares_bounded_by_hand(shares, factor, expected):
    names = [str(index) for index in range(len(shares))]
    bounded = bound_shares(dict(zip(names, shares, strict=True)), factor)
    assert list(bounded.values()) == pytest.approx(expected, abs=1e-12)


@given(claims=st.lists(st.floats(0, 1e12), min_size=1, max_size=12), factor=FACTORS, data=st.data())
def test_bounded_claims_are_near_the_median_and_a_minority_cannot_move_them_far(claims, factor, data):
    clients = {str(index): claim for index, claim in enumerate(claims)}
    bounded = bound_claims(clients, factor)
    median = statistics.median(claims)
    for client, claim in clients.items():
        assert median / factor * (1 - 1e-12) <= bounded[client] <= median * factor * (1 + 1e-12)
        if median / factor <= claim <= median * factor:
            assert bounded[client] == claim
    liars = data.draw(st.sets(st.sampled_from(sorted(clients)), max_size=(len(clients) - 1) // 2))
    honest = [claim for client, claim in clients.items() if client not in liars]
    lied = bound_claims(clients | dict.fromkeys(liars, 1e300), factor)
    assert max(lied.values()) <= factor * max(honest) * (1 + 1e-12)


def test_without_a_bound_claims_stay_as_they_are():
    assert bound_claims({"ann": 0.0, "bob": 1e300}, math.inf) == {"ann": 0.0, "bob": 1e300}


def five(losses, clips) -> list[Contribution]:
    values = enumerate(zip(losses, clips, strict=True))
    return [Contribution(f"client-{index}", loss, count, steps=5) for index, (loss, count) in values]


@pytest.mark.parametrize(
    ("name", "loss", "clips", "before", "after"),
    [
        # h² = 1 − √(1/5); c = (h − 0.05)/0.95; (1 − c)/5 + c, at sharpness 1 − 1/100. Then 2/(4 + 2).
        ("fedvsr", 1e-9, 4, 0.784, 1 / 3),
        ("fedvsr-ala", 1e-9, 4, 0.784, 1 / 3),
        # 5/(4 + 5).
        ("fedavg", 0.03, 2**53, 1.0, 5 / 9),
        ("fedprox", 0.03, 2**53, 1.0, 5 / 9),
        ("fedvsr-hf", 0.03, 2**53, 1.0, 5 / 9),
    ],
)
def test_a_claim_gets_no_more_than_the_bound(name, loss, clips, before, after):
    strategy = build_strategy(name)
    context = RoundContext(1, 100, 5, strategy.max_share)
    shares = strategy.share_out(five([loss, *[0.03] * 4], [clips, 4, 4, 4, 4]), context)
    assert shares.weights["client-0"] == pytest.approx(after)
    assert [shares.weights[f"client-{index}"] for index in (1, 2, 3, 4)] == pytest.approx(
        [(1 - after) / 4] * 4
    )
    assert shares.weights_before_bound == pytest.approx({"client-0": before}, abs=1e-3)


@pytest.mark.parametrize("name", strategy_names())
@pytest.mark.parametrize(
    ("losses", "clips"),
    [
        # The first rounds of samples/demo.yaml, and of its videos split with quantity-skew and alpha 1.
        ((0.0271, 0.04, 0.0325, 0.0332, 0.0479), (4, 4, 4, 4, 4)),
        ((0.0091, 0.0311, 0.0202, 0.039, 0.0392), (1, 1, 2, 5, 11)),
    ],
)
def test_an_honest_federation_keeps_its_shares(name, losses, clips):
    strategy = build_strategy(name)
    bounded = strategy.share_out(five(losses, clips), RoundContext(1, 1000, 5, strategy.max_share))
    claimed, diagnostics = strategy.weigh(five(losses, clips), RoundContext(1, 1000, 5))
    assert (bounded.weights, bounded.diagnostics, bounded.weights_before_bound) == (claimed, diagnostics, {})


def test_the_skew_of_40_clients_keeps_its_shares():
    # quantity-skew with its default alpha of 0.1.
    strategy = build_strategy("fedavg")
    clips = [round(10 * math.exp(0.1 * index)) for index in range(40)]
    contributions = [Contribution(f"{index:02d}", 1.0, count, 1) for index, count in enumerate(clips)]
    shares = strategy.share_out(contributions, RoundContext(1, 2, 40, strategy.max_share))
    assert shares.weights_before_bound == {}
    assert shares.weights["39"] == clips[-1] / sum(clips)
