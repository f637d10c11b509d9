"""The geometric median, compared with points that are known and with the condition that defines it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import UpdateError
from fedvsr.strategies.base import RoundContext, RoundUpdates
from fedvsr.strategies.geometric_median import GeometricMedian
from tests.unit.strategies.rounds import contributions, random_tensors


def median_of(aggregate, points, **options) -> np.ndarray:
    """Aggregates points as updates of one tensor, in float64."""
    points = np.asarray(points, np.float64)
    updates = {f"{index:03d}": {"w": point} for index, point in enumerate(points)}
    strategy = GeometricMedian(GeometricMedian.Options(**options))
    return aggregate(strategy, {"w": np.zeros(points.shape[1])}, updates).tensors["w"]


def test_the_median_of_a_triangle_is_its_fermat_point(aggregate):
    # From there each side is seen at an angle of 120°. In a right triangle with legs of 1, it is (x, x):
    x = (3 - math.sqrt(3)) / 6
    found = median_of(aggregate, [[0, 0], [1, 0], [0, 1]], tolerance=1e-12)
    np.testing.assert_allclose(found, [x, x], atol=1e-6)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[3, 4]], [3, 4]),
        ([[0, 0], [2, 4]], [1, 2]),
        ([[1, 1]] * 4, [1, 1]),
        # On a line it is the median.
        ([[0, 0], [1, 1], [2, 2], [50, 50], [90, 90]], [2, 2]),
        # A point where more than half of the clients are.
        ([[1, 2]] * 3 + [[7, 7], [1e9, 0]], [1, 2]),
        # The crossing of a quadrilateral's diagonals.
        ([[0, 0], [4, 4], [0, 2], [2, 0]], [1, 1]),
    ],
)
def test_known_medians(aggregate, points, expected):
    np.testing.assert_allclose(median_of(aggregate, points), expected, atol=2e-3)


@given(count=st.integers(3, 9), seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=30)
def test_unit_vectors_from_the_median_cancel_whatever_the_order_of_arrival(
    make_updates_of_module, count, seed, data
):
    points = np.random.default_rng(seed).normal(size=(count, 20))
    updates = {str(index): {"w": point, "counter": np.array(7)} for index, point in enumerate(points)}
    results = []
    for order in (list(updates), data.draw(st.permutations(list(updates)))):
        round_updates = RoundUpdates(
            {"w": points[0], "counter": np.array(0)},
            make_updates_of_module({client: updates[client] for client in order}),
            make_updates_of_module({}),
            contributions(dict.fromkeys(updates, 1)),
            RoundContext(1, 2, count),
            {},
        )
        results.append(GeometricMedian().aggregate(round_updates))
    first, second = results
    assert first.tensors["w"].tobytes() == second.tensors["w"].tobytes()
    directions = [
        (point - first.tensors["w"]) / np.linalg.norm(point - first.tensors["w"]) for point in points
    ]
    assert np.linalg.norm(np.sum(directions, axis=0)) < 1e-4
    # The reported weights are those of the mean.
    weights = np.array([first.weights[str(index)] for index in range(count)])
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights @ points, first.tensors["w"], rtol=1e-9, atol=1e-12)
    assert first.tensors["counter"] == 7


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_each_iteration_is_weiszfelds(aggregate, iterations):
    points = np.random.default_rng(0).normal(size=(5, 8))
    z = points.mean(axis=0)
    for _ in range(iterations):
        inverse = 1 / np.maximum(0.5, np.linalg.norm(points - z, axis=1))
        z = inverse @ points / inverse.sum()
    found = median_of(aggregate, points, iterations=iterations, tolerance=0, nu=0.5)
    np.testing.assert_allclose(found, z, rtol=1e-9)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e12])
def test_two_liars_of_five_move_it_no_further_however_large_they_are(aggregate, size):
    honest = np.random.default_rng(1).normal(size=(3, 50))
    liars = np.full((2, 50), size)
    moved = np.linalg.norm(median_of(aggregate, [*honest, *liars]) - honest.mean(axis=0))
    # The bound of a mean of n points of which a share α is arbitrary: 2·(1 − α)/(1 − 2·α) times the
    # largest distance of the others.
    assert moved < 2 * 0.6 / 0.2 * np.linalg.norm(honest - honest.mean(axis=0), axis=1).max()


def test_it_stops_when_the_weights_stay(aggregate):
    updates = {str(index): random_tensors(index) for index in range(4)}
    result = aggregate(GeometricMedian(), random_tensors(9), updates)
    assert 1 < result.diagnostics["weiszfeld_iterations"] < 100


def test_an_update_beyond_the_range_of_float64_is_refused(aggregate):
    points = [[0.0, 1.0], [1.0, 0.0], [0.0, 1e300]]
    with np.errstate(over="ignore"), pytest.raises(UpdateError, match=r"'002' is refused: its distance from"):
        median_of(aggregate, points)
