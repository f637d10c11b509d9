"""FedVSR's aggregation weights: numbers computed by hand, and general properties."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedvsr.errors import ConfigError
from fedvsr.strategies.base import Contribution, RoundContext
from fedvsr.strategies.fedvsr import FedVSR, FedVSROptions
from fedvsr.strategies.loss_aware import loss_aware_weights
from fedvsr.strategies.registry import build_strategy

LOSSES = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12)
ROUNDS = st.integers(1, 50).flatmap(lambda rounds: st.tuples(st.integers(1, rounds), st.just(rounds)))

# By hand, with h² = 1 − Σ √(w_i/n), which is ½·Σ(√w_i − √(1/n))² multiplied out.
CASES = [
    # Equal losses: w is uniform, h = 0.
    pytest.param([0.2, 0.2, 0.2], 1, 10, 0.0, 0.0, [1 / 3, 1 / 3, 1 / 3], id="equal losses"),
    # The last round: s = 1 − 3/3 = 0, so every power is 1.
    pytest.param([0.1, 10.0], 3, 3, 0.0, 0.0, [0.5, 0.5], id="last round"),
    # One client: w = (1), which is uniform.
    pytest.param([0.3], 1, 2, 0.0, 0.0, [1.0], id="one client"),
    # s = ½; powers 1 and 16^−½ = ¼; w = (0.8, 0.2).
    # h² = 1 − (√0.4 + √0.1) = 1 − (0.6324555320 + 0.3162277660) = 0.0513167019; h = 0.2265319005.
    # c = (0.2265319005 − 0.05)/0.95 = 0.1858230532; weight 0.5 + 0.3·c = 0.5557469160.
    pytest.param(
        [1.0, 16.0], 1, 2, 0.2265319005, 0.1858230532, [0.5557469160, 0.4442530840], id="16 times the loss"
    ),
    # s = ¾; powers 1, ⅛, ⅛; w = (0.8, 0.1, 0.1).
    # h² = 1 − (√(0.8/3) + 2·√(0.1/3)) = 1 − (0.5163977795 + 0.3651483717) = 0.1184538488; h = 0.3441712493.
    # c = 0.2941712493/0.95 = 0.3096539466; weights 1/3 + 7/15·c = 0.4778385084, 1/3 − 7/30·c = 0.2610807458.
    pytest.param(
        [1.0, 16.0, 16.0],
        1,
        4,
        0.3441712493,
        0.3096539466,
        [0.4778385084, 0.2610807458, 0.2610807458],
        id="three clients",
    ),
    # s = ½; powers 1 and 1/1.3; w = (13/23, 10/23) = (0.5652173913, 0.4347826087).
    # h² = 1 − (√0.28260870 + √0.21739130) = 1 − (0.53160954 + 0.46625241) = 0.00213805; h = 0.0462 < 0.05.
    pytest.param([1.0, 1.69], 1, 2, 0.0462391913, 0.0, [0.5, 0.5], id="below the threshold"),
    # s = ½; powers 1 and 1/1.35; w = (27/47, 20/47); h = 0.0528412266; c = 0.0028412266/0.95 = 0.0029907648;
    # weight 0.5 + (27/47 − 0.5)·c = 0.5 + 0.0744680851·0.0029907648 = 0.5002227165.
    pytest.param(
        [1.0, 1.8225],
        1,
        2,
        0.0528412266,
        0.0029907648,
        [0.5002227165, 0.4997772835],
        id="above the threshold",
    ),
    # h = 0.05 for two clients: Σ√(w_i/2) = 0.9975, so 1 + √(1 − a²) = 2·0.9975² with w = (1 ± a)/2;
    # a = 0.1409796, w₁/w₂ = 1.3282. Powers 1 and 1/1.328 lie just under it, 1 and 1/1.329 just over it.
    pytest.param([1.0, 1.328**2], 1, 2, 0.0499692581, 0.0, [0.5, 0.5], id="just below the threshold"),
    pytest.param(
        [1.0, 1.329**2],
        1,
        2,
        0.0501009097,
        0.0001062207,
        [0.5000075025, 0.4999924975],
        id="just above the threshold",
    ),
    # s = ½; powers 1 and 10⁻⁴; w = (0.99990001, 0.00009999).
    # h² = 1 − (0.7070714236 + 0.0070707142) = 0.2858578621; h = 0.5346567658; c = 0.5101650166;
    # weight 0.5 + 0.49990001·c = 0.7550314969: even the smallest loss does not take the whole aggregate.
    pytest.param(
        [1.0, 1e8], 1, 2, 0.5346567658, 0.5101650166, [0.7550314969, 0.2449685031], id="very different losses"
    ),
]


@pytest.mark.parametrize(("losses", "round_number", "rounds", "distance", "mixing", "weights"), CASES)
def test_weights_are_those_computed_by_hand(losses, round_number, rounds, distance, mixing, weights):
    result = loss_aware_weights(losses, round_number, rounds)
    assert result.aggregation_weights == pytest.approx(weights, abs=1e-9)
    assert result.hellinger_distance == pytest.approx(distance, abs=1e-9)
    assert result.mixing_coefficient == pytest.approx(mixing, abs=1e-9)
    assert result.sharpness == pytest.approx(1 - round_number / rounds)


@pytest.mark.parametrize(
    ("losses", "same_as"),
    [
        # A loss that is not positive counts as the smallest of the others.
        ([0.0, 0.2, 4.0], [0.2, 0.2, 4.0]),
        ([-3.0, 0.2, 4.0], [0.2, 0.2, 4.0]),
        # One that is not finite counts as the largest.
        ([math.nan, 0.2, 4.0], [4.0, 0.2, 4.0]),
        ([math.inf, 0.2, 4.0], [4.0, 0.2, 4.0]),
        ([-math.inf, 0.2, 4.0], [4.0, 0.2, 4.0]),
        # Without any usable loss all count the same.
        ([math.nan, 0.0, -1.0], [1.0, 1.0, 1.0]),
        # Losses so small that their inverse would overflow.
        ([5e-324, 1e-320], [1.0, 1.0]),
    ],
)
def test_unusable_losses_are_replaced(losses, same_as):
    assert loss_aware_weights(losses, 1, 2).aggregation_weights == pytest.approx(
        loss_aware_weights(same_as, 1, 2).aggregation_weights
    )


@given(losses=LOSSES, when=ROUNDS)
def test_weights_are_a_distribution_and_the_diagnostics_lie_in_0_to_1(losses, when):
    result = loss_aware_weights(losses, *when)
    assert math.fsum(result.aggregation_weights) == pytest.approx(1, abs=1e-12)
    assert all(weight > 0 for weight in result.aggregation_weights)
    assert 0 <= result.mixing_coefficient <= result.hellinger_distance <= 1


@given(losses=LOSSES, when=ROUNDS, data=st.data())
def test_weights_do_not_depend_on_the_order_of_the_clients(losses, when, data):
    order = data.draw(st.permutations(range(len(losses))))
    weights = loss_aware_weights(losses, *when).aggregation_weights
    permuted = loss_aware_weights([losses[index] for index in order], *when).aggregation_weights
    assert list(permuted) == [weights[index] for index in order]


@given(losses=LOSSES, when=ROUNDS)
def test_a_lower_loss_never_counts_less(losses, when):
    weights = loss_aware_weights(losses, *when).aggregation_weights
    by_loss = sorted(zip(losses, weights, strict=True))
    assert all(first[1] >= second[1] for first, second in itertools.pairwise(by_loss))


@given(losses=LOSSES, when=ROUNDS, factor=st.floats(1e-3, 1e3))
def test_the_losses_unit_does_not_matter(losses, when, factor):
    result = loss_aware_weights(losses, *when)
    # At the threshold itself the last bit decides.
    assume(abs(result.hellinger_distance - 0.05) > 1e-9)
    scaled = loss_aware_weights([factor * loss for loss in losses], *when)
    assert scaled.aggregation_weights == pytest.approx(result.aggregation_weights, rel=1e-9)


@given(losses=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), rounds=st.integers(2, 30))
def test_weights_become_flatter_from_round_to_round(losses, rounds):
    spreads = []
    for round_number in range(1, rounds + 1):
        weights = loss_aware_weights(losses, round_number, rounds).aggregation_weights
        spreads.append(max(weights) - min(weights))
    assert spreads[-1] == pytest.approx(0, abs=1e-15)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(spreads))


def contributions(**losses: float) -> list[Contribution]:
    return [Contribution(client, loss, clips=1, steps=1) for client, loss in losses.items()]


def test_the_strategy_returns_each_clients_weight_and_diagnostics():
    weights, diagnostics = FedVSR().weigh(contributions(ann=1.0, bob=16.0), RoundContext(1, 2, 2))
    assert weights == pytest.approx({"ann": 0.5557469160, "bob": 0.4442530840}, abs=1e-9)
    assert diagnostics == pytest.approx(
        {"hellinger_distance": 0.2265319005, "mixing_coefficient": 0.1858230532, "sharpness": 0.5}, abs=1e-9
    )


def test_the_threshold_decides_whether_a_difference_counts():
    # h = 0.2265319005 for w = (0.8, 0.2): c = h at threshold 0, and 0 at a threshold above it.
    def weigh(threshold: float) -> float:
        strategy = FedVSR(FedVSROptions(threshold=threshold))
        shares, _ = strategy.weigh(contributions(ann=1.0, bob=16.0), RoundContext(1, 2, 2))
        return shares["ann"]

    assert weigh(0.0) == pytest.approx(0.5 + 0.3 * 0.2265319005, abs=1e-9)
    assert weigh(0.23) == 0.5


@pytest.mark.parametrize(
    ("threshold", "allowed"),
    [(-0.1, "greater than or equal to 0"), (1.0, "less than 1"), (math.nan, "a finite number")],
)
def test_a_threshold_outside_0_to_1_is_refused(threshold, allowed):
    with pytest.raises(ConfigError, match=rf"^strategy\.options\.threshold: .* must be {allowed}$"):
        build_strategy("fedvsr", {"threshold": threshold})
