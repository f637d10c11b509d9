"""Clipping and its adaptation, and the noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.privacy.clipping import clip_factor, clip_weights, next_clipping_norm, norm_of
from fedvsr.privacy.noise import GaussianNoise, count_deviation, update_noise_multiplier

numbers = st.floats(-100, 100, width=32)


@given(
    st.lists(numbers, min_size=1, max_size=20), st.lists(numbers, min_size=1, max_size=5), st.floats(0.01, 50)
)
def test_a_clipped_update_is_within_the_norm_and_keeps_its_direction(first, second, bound):
    sent = {"a": np.ones(len(first), np.float32), "b": np.ones(len(second), np.float32), "n": np.array([3])}
    weights = {
        "a": sent["a"] + np.float32(first),
        "b": sent["b"] + np.float32(second),
        "n": np.array([5]),
    }
    norm = norm_of(weights[name] - sent[name] for name in ("a", "b"))
    flat = np.concatenate([np.float64(weights[name]) - sent[name] for name in ("a", "b")])
    assert norm == pytest.approx(np.linalg.norm(flat), rel=1e-6)
    clipped = clip_weights(weights, sent, clip_factor(norm, bound))
    changed = norm_of(np.float64(clipped[name]) - sent[name] for name in ("a", "b"))
    assert changed <= bound * (1 + 1e-4) + 1e-4
    assert clipped["n"] == 5
    if norm <= bound:
        assert all(np.array_equal(clipped[name], weights[name]) for name in weights)


def test_the_adapted_norm_comes_to_the_quantile_of_the_norms():
    norms = np.random.default_rng(0).lognormal(1.0, 0.5, 4000)
    noise, norm = np.random.default_rng(1), 0.1
    for _ in range(200):
        drawn = noise.choice(norms, 100)
        unclipped = (np.count_nonzero(drawn <= norm) + noise.normal(0, 5)) / 100
        norm = next_clipping_norm(norm, unclipped, 0.5)
    assert norm == pytest.approx(np.quantile(norms, 0.5), rel=0.1)


def test_noise_has_its_deviation_and_no_two_are_alike():
    first, second = (GaussianNoise().draw(3.0, (100_000,)) for _ in range(2))
    assert first.std() == pytest.approx(3, rel=0.02)
    assert abs(first.mean()) < 0.06
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("noise_multiplier", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("clients", [3, 40, 1000])
def test_updates_and_their_count_cost_together_what_one_release_costs(noise_multiplier, clients):
    updates = update_noise_multiplier(noise_multiplier, clients)
    deviation = count_deviation(noise_multiplier, clients)
    # The privacy of Gaussian releases adds up by squares. The count changes by 1/2 around its centre.
    assert updates**-2 + (2 * deviation) ** -2 == pytest.approx(noise_multiplier**-2)
    assert updates < 1.2 * noise_multiplier
