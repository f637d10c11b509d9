"""Bulyan, compared with the paper's two phases, step by step in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedvsr.errors import QuorumError
from fedvsr.strategies.base import RoundContext, RoundUpdates
from fedvsr.strategies.bulyan import Bulyan
from fedvsr.strategies.fedavg import FedAvg
from tests.unit.strategies.rounds import contributions, random_tensors


def papers_bulyan(vectors: np.ndarray, malicious: int) -> np.ndarray:
    """The oracle, on vectors (n, d)."""
    left, selected = list(vectors.astype(np.float64)), []
    theta = len(left) - 2 * malicious
    while len(selected) < theta:
        scores = []
        for i, own in enumerate(left):
            distances = sorted(((own - other) ** 2).sum() for j, other in enumerate(left) if j != i)
            scores.append(sum(distances[: max(1, len(left) - malicious - 2)]))
        selected.append(left.pop(int(np.argmin(scores))))
    result = []
    for column in np.array(selected).T:
        median = np.median(column)
        nearest = sorted(sorted(column), key=lambda value: abs(value - median))[: theta - 2 * malicious]
        result.append(np.mean(nearest))
    return np.array(result)


def bulyan(malicious: int) -> Bulyan:
    return Bulyan(Bulyan.Options(malicious=malicious))


@given(
    vectors=hnp.arrays(
        np.float32, st.tuples(st.integers(3, 13), st.just(5)), elements=st.floats(-100, 100, width=16)
    ),
    data=st.data(),
)
@settings(max_examples=60)
def test_it_is_the_papers_whatever_the_order_of_arrival(make_updates_of_module, vectors, data):
    # Distinct distances: on a tie the paper leaves the choice open.
    vectors = vectors + np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32)
    malicious = data.draw(st.integers(0, (len(vectors) - 3) // 4))
    updates = {f"{index:02d}": {"w": row} for index, row in enumerate(vectors)}
    results = []
    for order in (list(updates), data.draw(st.permutations(list(updates)))):
        round_updates = RoundUpdates(
            {"w": vectors[0]},
            make_updates_of_module({client: updates[client] for client in order}),
            make_updates_of_module({}),
            contributions(dict.fromkeys(updates, 1)),
            RoundContext(1, 2, len(vectors)),
            {},
        )
        results.append(bulyan(malicious).aggregate(round_updates).tensors["w"])
    assert results[0].tobytes() == results[1].tobytes()
    np.testing.assert_allclose(results[0], papers_bulyan(vectors, malicious), rtol=1e-6, atol=1e-5)


def test_without_malicious_clients_it_is_the_plain_mean(aggregate):
    updates = {str(index): random_tensors(index) for index in range(4)}
    mean = aggregate(FedAvg(), random_tensors(99), updates)
    result = aggregate(bulyan(0), random_tensors(99), updates)
    for name, array in result.tensors.items():
        np.testing.assert_allclose(array, mean.tensors[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_liars_cannot_move_a_coordinate_out_of_the_honest_range(aggregate):
    # Krum alone lets an update through that differs in a single coordinate; the second phase does not.
    random = np.random.default_rng(3)
    honest = {f"honest-{index}": {"w": random.normal(size=1000).astype(np.float32)} for index in range(5)}
    center = np.mean([tensors["w"] for tensors in honest.values()], axis=0)
    center[7] = 12
    result = aggregate(
        bulyan(1),
        {"w": np.zeros(1000, np.float32)},
        honest | {"liar": {"w": center}} | {"honest-5": {"w": random.normal(size=1000).astype(np.float32)}},
    ).tensors["w"]
    assert abs(result[7]) < 3


def test_of_values_equally_near_to_the_median_the_smaller_counts(aggregate):
    # Of seven clients five are selected, and of their values 0, 1, 2, 3, 4 the three nearest to 2.
    values = [0, 1, 2, 3, 4, 100, -100]
    updates = {str(index): {"w": np.array([value, 0], np.float32)} for index, value in enumerate(values)}
    assert aggregate(bulyan(1), {"w": np.zeros(2, np.float32)}, updates).tensors["w"].tolist() == [2, 0]


def test_integer_buffers_stay_within_the_selected_clients_range(aggregate):
    updates = {
        str(index): {"w": np.zeros(2, np.float32), "counter": np.array(2**62 + 3)} for index in range(7)
    }
    base = {"w": np.zeros(2, np.float32), "counter": np.array(0)}
    assert aggregate(bulyan(1), base, updates).tensors["counter"] == 2**62 + 3


@pytest.mark.parametrize(("malicious", "count"), [(0, 2), (1, 6), (2, 10)])
def test_too_few_updates_are_an_error_that_says_how_many_are_needed(aggregate, malicious, count):
    updates = {f"client-{index:02d}": random_tensors(index) for index in range(count)}
    with pytest.raises(QuorumError, match=rf"'bulyan' with its options needs {4 * malicious + 3};"):
        aggregate(bulyan(malicious), random_tensors(99), updates)
