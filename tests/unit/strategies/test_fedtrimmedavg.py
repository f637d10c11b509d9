"""The coordinate-wise trimmed mean, compared with its definition in float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvsr.strategies.base import RoundContext, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.fedtrimmedavg import FedTrimmedAvg
from tests.unit.strategies.rounds import contributions, random_tensors


def trimmed_mean(values: np.ndarray, trimmed: int) -> np.ndarray:
    """The oracle: each column without so many of its largest and smallest values, one by one."""
    columns = []
    for column in values.astype(np.float64).reshape(len(values), -1).T:
        left = sorted(column)
        for _ in range(trimmed):
            left.remove(max(left))
            left.remove(min(left))
        columns.append(math.fsum(left) / len(left))
    return np.array(columns).reshape(values.shape[1:])


def trimmed_avg(beta: float) -> FedTrimmedAvg:
    return FedTrimmedAvg(FedTrimmedAvg.Options(beta=beta))


@pytest.mark.parametrize(
    ("count", "beta", "trimmed"),
    [(1, 0.4, 0), (2, 0.4, 0), (4, 0.2, 0), (5, 0.2, 1), (9, 0.2, 1), (9, 0.45, 4), (10, 0.3, 3), (8, 0, 0)],
)
def test_each_coordinate_is_the_mean_without_its_extremes(aggregate, count, beta, trimmed):
    updates = {f"client-{index}": random_tensors(index) for index in range(count)}
    result = aggregate(trimmed_avg(beta), random_tensors(99), updates)
    for name, array in result.tensors.items():
        stack = np.stack([tensors[name] for tensors in updates.values()])
        np.testing.assert_allclose(
            array, trimmed_mean(stack, trimmed).astype(array.dtype), rtol=3e-7, atol=1e-7, err_msg=name
        )
    assert (result.weights, result.diagnostics) == ({}, {"trimmed_at_each_end": trimmed})


def test_a_share_that_is_a_whole_number_of_clients_is_trimmed_whole(aggregate):
    # 0.29·100 is 28.999999999999996 in float64.
    updates = {f"{index:03d}": {"w": np.array([index], np.float32)} for index in range(100)}
    result = aggregate(trimmed_avg(0.29), {"w": np.zeros(1, np.float32)}, updates)
    assert result.diagnostics == {"trimmed_at_each_end": 29}


@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.just(4)),
        elements=st.floats(-(2.0**60), 2.0**60, width=32),
    ),
    beta=st.floats(0, 0.49),
    data=st.data(),
)
def test_the_order_of_arrival_does_not_change_a_byte_and_liars_stay_in_the_honest_range(
    make_updates_of_module, values, beta, data
):
    clients = [f"client-{index}" for index in range(len(values))]
    liars = data.draw(st.sets(st.sampled_from(clients), max_size=math.floor(beta * len(clients))))
    tensors = {client: {"w": row} for client, row in zip(clients, values, strict=True)}
    honest = np.stack([tensors[client]["w"] for client in clients if client not in liars])
    for index, liar in enumerate(sorted(liars)):
        tensors[liar] = {"w": np.full(4, (-1) ** index * 2.0**100, np.float32)}
    results = []
    for order in (clients, data.draw(st.permutations(clients))):
        updates = make_updates_of_module({client: tensors[client] for client in order})
        round_updates = RoundUpdates(
            {"w": values[0]},
            updates,
            make_updates_of_module({}),
            contributions(dict.fromkeys(order, 1)),
            RoundContext(1, 2, len(order)),
            {},
        )
        results.append(trimmed_avg(beta).aggregate(round_updates).tensors["w"])
    assert results[0].tobytes() == results[1].tobytes()
    assert (results[0] >= honest.min(axis=0)).all()
    assert (results[0] <= honest.max(axis=0)).all()


def test_beta_0_is_the_mean_of_equal_clients(aggregate):
    updates = {f"client-{index}": random_tensors(index) for index in range(4)}
    mean = aggregate(FedAvg(), random_tensors(99), updates)
    result = aggregate(trimmed_avg(0), random_tensors(99), updates)
    for name, array in result.tensors.items():
        np.testing.assert_allclose(array, mean.tensors[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_integer_buffers_are_rounded_and_stay_among_the_clients_that_are_left(aggregate):
    counters = {
        f"{index}": {"counter": np.array(value)} for index, value in enumerate([-(2**62), 4, 5, 5, 2**62])
    }
    result = aggregate(trimmed_avg(0.2), {"counter": np.array(0)}, counters)
    assert result.tensors["counter"] == 5


def test_large_tensors_are_read_in_pieces(aggregate, monkeypatch):
    from fedvsr.strategies import updates

    # A piece of 5 clients: 7 elements, which divides neither a row of 5 nor the whole of 40.
    monkeypatch.setattr(updates, "_PIECE_BYTES", 7 * 8 * 5)
    random = np.random.default_rng(0)
    tensors = {str(index): {"w": random.normal(size=(8, 5)).astype(np.float32)} for index in range(5)}
    result = aggregate(trimmed_avg(0.2), {"w": np.zeros((8, 5), np.float32)}, tensors)
    stack = np.stack([update["w"] for update in tensors.values()])
    np.testing.assert_allclose(result.tensors["w"], trimmed_mean(stack, 1), rtol=1e-6)
