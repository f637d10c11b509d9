"""Server optimisers against closed forms and the papers' equations, written out in float64."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.server_optimisers.base import find_state_problem, optimise
from fedvsr.server_optimisers.registry import (
    SERVER_OPTIMISERS,
    build_server_optimiser,
    server_optimiser_names,
)
from fedvsr.weights import specs_of

ADAPTIVE = ("adagrad", "adam", "yogi")


def run_rounds(optimiser, start, changes):
    """Applies a tensor's changes round by round; returns the weights after each round."""
    weights, state, seen = {"w": start}, {}, []
    for change in changes:
        weights, state = optimise(optimiser, weights, {"w": weights["w"] + change}, state)
        seen.append(weights["w"])
    return seen


def reference(name, options, start, changes):
    """The equations of Hsu et al. and of Reddi et al.'s algorithm 2 by number, with float32 states."""
    after = []
    for first, column in zip(start.ravel(), np.reshape(changes, (len(changes), -1)).T, strict=True):
        w, m, v = float(first), 0.0, options.get("tau", 0.0) ** 2
        row = []
        for d in map(float, column):
            if name == "momentum":
                m = options["beta"] * m + d
                w += options["learning_rate"] * (d + options["beta"] * m if options["nesterov"] else m)
            else:
                m = options["beta1"] * m + (1 - options["beta1"]) * d
                if name == "adagrad":
                    v = v + d**2
                elif name == "adam":
                    v = options["beta2"] * v + (1 - options["beta2"]) * d**2
                else:
                    sign = (v > d**2) - (v < d**2)
                    v = v - (1 - options["beta2"]) * d**2 * sign
                w += options["learning_rate"] * m / (math.sqrt(v) + options["tau"])
            m, v = float(np.float32(m)), float(np.float32(v))
            row.append(w)
        after.append(row)
    return np.array(after).T.reshape(len(changes), *start.shape)


def some_options(name, draw):
    share = st.floats(0, 0.99)
    options = {"learning_rate": draw(st.floats(1e-3, 2))}
    if name == "momentum":
        return options | {"beta": draw(share), "nesterov": draw(st.booleans())}
    options |= {"beta1": draw(share), "tau": draw(st.floats(1e-3, 1e-1))}
    return options if name == "adagrad" else options | {"beta2": draw(share)}


@pytest.mark.parametrize("name", server_optimiser_names())
@given(
    data=st.data(),
    changes=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.just(2), st.just(3)), elements=st.floats(-1, 1, width=16)
    ),
)
def test_the_weights_follow_the_papers_equations(name, data, changes):
    options = some_options(name, data.draw)
    optimiser = build_server_optimiser(name, options)
    start = np.linspace(-1, 1, 6).reshape(2, 3)
    seen = np.stack(run_rounds(optimiser, start, changes.astype(np.float64)))
    # The change as the server has it, after rounding: Yogi's sign depends on the last bit.
    before = np.stack([start, *seen[:-1]])
    expected = reference(name, options, start, (before + changes) - before)
    np.testing.assert_allclose(seen, expected, rtol=1e-6, atol=1e-6)


def test_momentum_adds_up_equal_changes_to_a_geometric_sum():
    optimiser = build_server_optimiser("momentum", {"learning_rate": 0.5, "beta": 0.75})
    seen = run_rounds(optimiser, np.zeros(3), [np.array([1.0, -2.0, 0.25])] * 6)
    for count, weights in enumerate(seen, start=1):
        # Σ_{i=1..t} (1 − βⁱ)/(1 − β)
        steps = sum((1 - 0.75**i) / 0.25 for i in range(1, count + 1))
        np.testing.assert_allclose(weights, 0.5 * steps * np.array([1.0, -2.0, 0.25]), rtol=1e-12)


def test_without_memory_momentum_is_the_aggregate():
    random = np.random.default_rng(0)
    base, aggregate = ({"w": random.normal(size=1000).astype(np.float32)} for _ in range(2))
    weights, _ = optimise(build_server_optimiser("momentum", {"beta": 0}), base, aggregate, {})
    np.testing.assert_array_equal(weights["w"], aggregate["w"])


@pytest.mark.parametrize("name", ADAPTIVE)
def test_an_adaptive_optimisers_first_step_is_the_change_divided_by_its_own_size(name):
    # v starts at τ²: Δ = τ gives √v = τ·√(1 + 1) with Adagrad, and τ with Adam and Yogi.
    optimiser = build_server_optimiser(name, {"learning_rate": 1.0, "beta1": 0.0, "tau": 0.01})
    (weights,) = run_rounds(optimiser, np.zeros(2), [np.array([0.01, -0.01])])
    step = 1 / (1 + math.sqrt(2)) if name == "adagrad" else 0.5
    np.testing.assert_allclose(weights, [step, -step], rtol=1e-6)


@pytest.mark.parametrize("name", server_optimiser_names())
def test_nothing_changes_where_the_clients_agree_with_the_base_weights(name):
    base = {"w": np.array([1.0, -3.0], np.float32)}
    weights, _ = optimise(build_server_optimiser(name), base, base, {})
    np.testing.assert_array_equal(weights["w"], base["w"])


@pytest.mark.parametrize("name", server_optimiser_names())
def test_names_shapes_and_dtypes_stay_and_buffers_without_fractions_are_the_aggregates(name):
    base = {
        "half": np.ones(3, np.float16),
        "gain": np.asarray(2.0, np.float32),
        "empty": np.zeros((0, 2), np.float32),
        "counter": np.array(3),
        "mask": np.array([True, False]),
    }
    aggregate = base | {"counter": np.array(2**62 + 1), "mask": np.array([False, False])}
    optimiser = build_server_optimiser(name)
    weights, state = optimise(optimiser, base, aggregate, {})
    assert specs_of(weights) == specs_of(base)
    assert weights["counter"] == 2**62 + 1
    assert not weights["mask"].any()
    assert {key.partition("/")[2] for key in state} == {"half", "gain", "empty"}
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    assert find_state_problem(optimiser, state, base) is None
    assert "is missing" in find_state_problem(optimiser, {}, base)


@pytest.mark.parametrize("name", server_optimiser_names())
def test_the_memory_is_that_of_the_results_and_a_few_tensors(name):
    count, size = 16, 1 << 17
    base = {f"layer{number}": np.ones(size, np.float32) for number in range(count)}
    aggregate = {key: array + 1 for key, array in base.items()}
    optimiser = build_server_optimiser(name)
    _, state = optimise(optimiser, base, aggregate, {})
    tracemalloc.start()
    try:
        results = optimise(optimiser, base, aggregate, state)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert results
    # At most twelve arrays of one tensor in float64 beside the results, of sixteen tensors.
    assert peak - kept < 12 * 8 * size


def test_an_optimiser_by_reference_and_wrong_names_and_options():
    by_reference = build_server_optimiser("fedvsr.server_optimisers.adam:Adam", {"tau": 1})
    assert by_reference.options.tau == 1.0
    with pytest.raises(UnknownNameError, match=r"^unknown server optimiser 'adm'; known: adagrad, adam, "):
        build_server_optimiser("adm")
    with pytest.raises(
        ConfigError, match=r"^server\.options\.beta: 1 is not allowed; it must be less than 1"
    ):
        build_server_optimiser("momentum", {"beta": 1})
    with pytest.raises(ConfigError, match="is ServerOptimiser, not a concrete subclass"):
        build_server_optimiser("fedvsr.server_optimisers.base:ServerOptimiser")


@pytest.mark.parametrize("name", server_optimiser_names())
def test_an_optimiser_has_its_registered_name_and_describes_itself(name):
    optimiser = SERVER_OPTIMISERS.load(name)
    assert optimiser.name == name
    assert optimiser.description
    assert "https://" in optimiser.source
    assert all(field.description for field in optimiser.Options.model_fields.values())
