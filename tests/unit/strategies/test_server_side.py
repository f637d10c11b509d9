"""Each strategy's aggregation, compared with NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import RoundContext, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.fedmedian import FedMedian
from fedvsr.strategies.fedsr import FedSR, similarity_weights
from fedvsr.strategies.registry import build_strategy, strategy_names
from fedvsr.strategies.scaffold import Scaffold
from fedvsr.weights import TensorSpec, specs_of
from tests.unit.strategies.rounds import contributions, random_tensors

HUGE = 2**53 + 1  # the first integer that float64 does not hold


def test_fedavg_weighs_by_clips(aggregate):
    tensors_by_client = {"ann": random_tensors(1), "bob": random_tensors(2), "cleo": random_tensors(3)}
    result = aggregate(FedAvg(), random_tensors(0), tensors_by_client, clips={"ann": 1, "bob": 2, "cleo": 5})
    assert result.weights == {"ann": 0.125, "bob": 0.25, "cleo": 0.625}
    for name, array in result.tensors.items():
        a, b, c = (tensors_by_client[client][name].astype(np.float64) for client in ("ann", "bob", "cleo"))
        np.testing.assert_array_equal(array, ((a + 2 * b + 5 * c) / 8).astype(array.dtype), err_msg=name)


@pytest.mark.parametrize("name", strategy_names())
def test_tensors_keep_names_shapes_and_dtypes(aggregate, name):
    base = random_tensors(0) | {
        "bn.num_batches_tracked": np.array(3),
        "bn.running_var": np.array([1.0, 2.0], np.float32),
        "mask": np.array([[True], [False]]),
        "index": np.arange(6, dtype=np.int32).reshape(2, 3),
    }
    strategy = build_strategy(name)
    clients = [f"client-{index}" for index in range(max(2, strategy.min_updates))]
    variates = {client: {"conv.bias": np.zeros(4, np.float32)} for client in clients}
    result = aggregate(
        strategy,
        base,
        dict.fromkeys(clients, base),
        strategy_tensors=variates if name == "scaffold" else None,
        context=RoundContext(2, 10, len(clients)),
    )
    assert specs_of(result.tensors) == specs_of(base)
    for key, array in base.items():
        np.testing.assert_array_equal(result.tensors[key], array, err_msg=key)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (name, count)
        for name in strategy_names()
        for count in (1, 2, 3, 7)
        if count >= build_strategy(name).min_updates
    ],
)
def test_integers_that_all_clients_share_stay_exact(aggregate, name, count):
    tables = {
        "table": np.array([HUGE, -HUGE, 2**63 - 1, -(2**63), 0, 7]),
        "bytes": np.array([0, 255], np.uint8),
        "counter": np.array(2**62 + 3),
        "mask": np.array([True, False]),
    }
    clients = [f"client-{index}" for index in range(count)]
    result = aggregate(
        build_strategy(name),
        {key: np.zeros_like(array) for key, array in tables.items()},
        dict.fromkeys(clients, tables),
        clips={client: 3 + index for index, client in enumerate(clients)},
        context=RoundContext(2, 10, count),
    )
    for key, array in tables.items():
        np.testing.assert_array_equal(result.tensors[key], array, err_msg=key)


def test_integers_that_differ_are_rounded_to_the_nearest_and_ties_to_even(aggregate):
    base = {"counter": np.array([0, 0, 0, 0]), "mask": np.array([False, False, False, False])}
    result = aggregate(
        FedAvg(),
        base,
        {
            "ann": {"counter": np.array([1, 2, 10, -1]), "mask": np.array([True, True, False, False])},
            "bob": {"counter": np.array([2, 3, 11, -2]), "mask": np.array([True, False, True, False])},
            "cleo": {"counter": np.array([2, 3, 10, -2]), "mask": np.array([True, True, False, False])},
            "dan": {"counter": np.array([1, 2, 10, -1]), "mask": np.array([True, False, True, False])},
        },
    )
    # Means 1.5, 2.5, 10.25, −1.5; and 1, ½, ½, 0.
    assert result.tensors["counter"].tolist() == [2, 2, 10, -2]
    assert result.tensors["mask"].tolist() == [True, False, False, False]


@given(
    values=hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.just(4))),
    shares=st.lists(st.integers(1, 9), min_size=5, max_size=5),
)
def test_integer_means_lie_within_the_clients_range(make_updates_of_module, values, shares):
    clients = [f"client-{index}" for index in range(len(values))]
    weights = {
        client: share / sum(shares[: len(values)]) for client, share in zip(clients, shares, strict=False)
    }
    updates = make_updates_of_module(
        {client: {"table": row} for client, row in zip(clients, values, strict=True)}
    )
    result = weighted_mean({"table": values[0]}, updates, weights)["table"]
    assert (result >= values.min(axis=0)).all()
    assert (result <= values.max(axis=0)).all()


@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.just(5)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    data=st.data(),
)
def test_a_mean_is_that_of_float64_whatever_the_order_of_arrival(make_updates_of_module, values, data):
    clients = [f"client-{index}" for index in range(len(values))]
    order = data.draw(st.permutations(clients))
    clips = {client: data.draw(st.integers(1, 9)) for client in clients}
    tensors_by_client = {client: {"w": row} for client, row in zip(clients, values, strict=True)}
    context = RoundContext(1, 2, len(values))
    means = []
    for arrival in (clients, order):
        updates = make_updates_of_module({client: tensors_by_client[client] for client in arrival})
        no_tensors = make_updates_of_module({})
        round_updates = RoundUpdates({"w": values[0]}, updates, no_tensors, contributions(clips), context, {})
        means.append(FedAvg().aggregate(round_updates).tensors["w"])
    assert means[0].tobytes() == means[1].tobytes()
    expected = np.average(values.astype(np.float64), axis=0, weights=[clips[client] for client in clients])
    scale = np.abs(values).max(axis=0)
    assert (np.abs(means[0] - expected) <= 1e-7 * scale + 1e-40).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_fedmedian_is_numpys_median(aggregate, count):
    tensors_by_client = {f"client-{index}": random_tensors(index) for index in range(count)}
    result = aggregate(FedMedian(), random_tensors(99), tensors_by_client)
    for name, array in result.tensors.items():
        stack = np.stack([tensors[name].astype(np.float64) for tensors in tensors_by_client.values()])
        np.testing.assert_array_equal(array, np.median(stack, axis=0).astype(array.dtype), err_msg=name)
    assert result.weights == {}


def test_fedmedian_reads_large_tensors_in_pieces_that_fit_together(aggregate, monkeypatch):
    from fedvsr.strategies import updates

    # A piece of 3 clients: 7 elements, which divides neither a row of 5 nor the whole of 40.
    monkeypatch.setattr(updates, "_PIECE_BYTES", 7 * 8 * 3)
    random = np.random.default_rng(0)
    tensors_by_client = {
        client: {"w": random.normal(size=(8, 5)).astype(np.float32)} for client in ("ann", "bob", "cleo")
    }
    result = aggregate(FedMedian(), {"w": np.zeros((8, 5), np.float32)}, tensors_by_client)
    np.testing.assert_array_equal(
        result.tensors["w"],
        np.median([tensors["w"] for tensors in tensors_by_client.values()], axis=0).astype(np.float32),
    )


def test_a_dishonest_minority_cannot_move_fedmedian_out_of_the_honest_range(aggregate):
    random = np.random.default_rng(1)
    honest = {f"honest-{index}": {"w": random.normal(size=20).astype(np.float32)} for index in range(4)}
    liars = {f"liar-{index}": {"w": np.full(20, 1e30, np.float32)} for index in range(3)}
    result = aggregate(FedMedian(), {"w": np.zeros(20, np.float32)}, honest | liars).tensors["w"]
    values = np.stack([tensors["w"] for tensors in honest.values()])
    assert (result >= values.min(axis=0)).all()
    assert (result <= values.max(axis=0)).all()


def test_fedsrs_weights_are_the_softmax_of_the_cosines(make_updates):
    base = {"w": np.array([[1.0, 0.0]], np.float32), "zero": np.zeros(2, np.float32)}
    tensors_by_client = {
        "ann": {"w": np.array([[5.0, 0.0]], np.float32), "zero": np.ones(2, np.float32)},  # cosine 1
        "bob": {"w": np.array([[0.0, 2.0]], np.float32), "zero": np.ones(2, np.float32)},  # cosine 0
        "cleo": {"w": np.array([[-3.0, 0.0]], np.float32), "zero": np.ones(2, np.float32)},  # cosine −1
    }
    weights = similarity_weights(base, make_updates(tensors_by_client))
    # e, 1 and 1/e, divided by their sum 4.0861612696.
    assert weights["w"] == pytest.approx({"ann": 0.6652409558, "bob": 0.2447284711, "cleo": 0.0900305732})
    # Without a direction to compare with, all count the same.
    assert weights["zero"] == pytest.approx(dict.fromkeys(tensors_by_client, 1 / 3))


def test_fedsr_averages_every_tensor_with_separate_weights_from_the_second_round(aggregate):
    base, tensors_by_client = random_tensors(0), {"ann": random_tensors(1), "bob": random_tensors(2)}
    result = aggregate(FedSR(), base, tensors_by_client, context=RoundContext(2, 10, 2))
    for name in ("conv.weight", "conv.bias"):
        flat = {
            client: tensors[name].astype(np.float64).ravel() for client, tensors in tensors_by_client.items()
        }
        start = base[name].astype(np.float64).ravel()
        powers = {
            client: np.exp(start @ values / np.sqrt((start @ start) * (values @ values)))
            for client, values in flat.items()
        }
        expected = sum(powers[client] * flat[client] for client in flat) / sum(powers.values())
        np.testing.assert_allclose(result.tensors[name].ravel(), expected, rtol=1e-6, err_msg=name)


def test_fedsrs_first_round_is_fedavg(aggregate):
    tensors_by_client = {"ann": random_tensors(1), "bob": random_tensors(2)}
    clips = {"ann": 3, "bob": 1}
    first = aggregate(
        FedSR(), random_tensors(0), tensors_by_client, clips=clips, context=RoundContext(1, 10, 2)
    )
    average = aggregate(FedAvg(), random_tensors(0), tensors_by_client, clips=clips)
    assert first.weights == {"ann": 0.75, "bob": 0.25}
    for name, array in average.tensors.items():
        np.testing.assert_array_equal(first.tensors[name], array, err_msg=name)


def test_scaffolds_first_round_is_the_plain_mean_however_many_clips(aggregate):
    tensors_by_client = {client: random_tensors(index) for index, client in enumerate(("ann", "bob", "cleo"))}
    variates = {client: {"conv.bias": np.zeros(4, np.float32)} for client in tensors_by_client}
    result = aggregate(
        Scaffold(),
        random_tensors(9),
        tensors_by_client,
        clips={"ann": 9, "bob": 1, "cleo": 4},
        strategy_tensors=variates,
    )
    assert result.weights == pytest.approx(dict.fromkeys(tensors_by_client, 1 / 3))
    for name in ("conv.weight", "gain"):
        expected = np.mean(
            [tensors[name].astype(np.float64) for tensors in tensors_by_client.values()], axis=0
        )
        np.testing.assert_allclose(result.tensors[name], expected, rtol=1e-6)


def test_scaffolds_server_follows_the_papers_formulas(aggregate):
    # x ← x + η_g·mean(y_i − x); c ← c + |S|/N·mean(Δc_i), with |S| = 2 of N = 5 and η_g = ½.
    base = {"w": np.array([1.0, 2.0], np.float32), "counter": np.array(4)}
    tensors_by_client = {
        "ann": {"w": np.array([2.0, 2.0], np.float32), "counter": np.array(8)},
        "bob": {"w": np.array([4.0, -2.0], np.float32), "counter": np.array(6)},
    }
    variates = {
        "ann": {"w": np.array([1.0, 0.0], np.float32)},
        "bob": {"w": np.array([2.0, 10.0], np.float32)},
    }
    result = aggregate(
        Scaffold(Scaffold.Options(global_learning_rate=0.5)),
        base,
        tensors_by_client,
        strategy_tensors=variates,
        state={"w": np.array([0.5, -1.0], np.float32)},
        context=RoundContext(3, 10, 5),
    )
    # Means (3, 0) and 7: (1 + ½·2, 2 − ½·2); a counter has no learning rate.
    assert result.tensors["w"].tolist() == [2.0, 1.0]
    assert result.tensors["counter"] == 7
    # Mean change (1.5, 5): (0.5 + 0.4·1.5, −1 + 0.4·5).
    np.testing.assert_allclose(result.strategy_state["w"], [1.1, 1.0], rtol=1e-6)
    assert result.strategy_state["w"].dtype == np.float32


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({}, "control variate is missing"),
        ({"w": TensorSpec((3,), np.dtype("float32"))}, "'w': expected float32 [2], found float32 [3]"),
        ({"w": TensorSpec((2,), np.dtype("float64"))}, "'w': expected float32 [2], found float64 [2]"),
        ({"x": TensorSpec((2,), np.dtype("float32"))}, "'x' belongs to no parameter"),
        ({"counter": TensorSpec((), np.dtype("int64"))}, "'counter' belongs to no parameter"),
        ({"w": TensorSpec((2,), np.dtype("float32"))}, None),
    ],
)
def test_scaffold_checks_the_strategy_tensors(result, problem):
    base = {"w": TensorSpec((2,), np.dtype("float32")), "counter": TensorSpec((), np.dtype("int64"))}
    answer = Scaffold().find_strategy_tensor_problem(result, base)
    assert answer is None if problem is None else problem in answer


@pytest.mark.parametrize("name", sorted(set(strategy_names()) - {"scaffold"}))
def test_a_strategy_without_strategy_tensors_refuses_them(name):
    strategy = build_strategy(name)
    assert strategy.find_strategy_tensor_problem({}, {}) is None
    answer = strategy.find_strategy_tensor_problem({"w": TensorSpec((), np.dtype("float32"))}, {})
    assert answer == f"strategy tensor 'w': {name} sends none"


def test_updates_are_read_in_the_order_of_the_names(make_updates):
    updates = make_updates({"cleo": random_tensors(3), "ann": random_tensors(1), "bob": random_tensors(2)})
    assert updates.clients == ("ann", "bob", "cleo")
    assert sorted(name for name, _ in updates.tensors("ann")) == sorted(random_tensors(1))
