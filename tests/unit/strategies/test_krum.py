"""Krum, Multi-Krum and their squared distances, compared with the definition in the paper."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import QuorumError, UpdateError
from fedvsr.strategies.base import RoundContext, RoundUpdates
from fedvsr.strategies.distances import squared_distances
from fedvsr.strategies.krum import Krum
from fedvsr.strategies.multikrum import MultiKrum
from fedvsr.weights import CHUNK_ELEMENTS
from tests.unit.strategies.rounds import contributions, random_tensors


def flat(tensors) -> np.ndarray:
    """All floating-point elements of an update in float64."""
    return np.concatenate(
        [array.astype(np.float64).ravel() for array in tensors.values() if array.dtype.kind == "f"]
    )


def papers_scores(vectors: list[np.ndarray], malicious: int) -> list[float]:
    """The oracle: for each i, the sum of ‖V_i − V_j‖² over the n − f − 2 nearest j ≠ i."""
    scores = []
    for i, own in enumerate(vectors):
        distances = sorted(
            float(np.linalg.norm(own - other)) ** 2 for j, other in enumerate(vectors) if j != i
        )
        scores.append(sum(distances[: len(vectors) - malicious - 2]))
    return scores


@pytest.fixture
def distances(make_updates):
    """The squared distances of some updates."""

    def measure(base, updates) -> np.ndarray:
        context = RoundContext(1, 2, len(updates))
        return squared_distances(RoundUpdates(base, make_updates(updates), make_updates({}), (), context, {}))

    return measure


def krum(malicious: int) -> Krum:
    return Krum(Krum.Options(malicious=malicious))


def test_squared_distances_are_numpys_and_leave_out_integers(distances):
    updates = {
        client: random_tensors(seed) | {"counter": np.array(1000 * seed)}
        for seed, client in enumerate(("ann", "bob", "cleo"))
    }
    base = random_tensors(9) | {"counter": np.array(0)}
    squares = distances(base, updates)
    vectors = [flat(tensors) for tensors in updates.values()]
    expected = [[np.square(a - b).sum() for b in vectors] for a in vectors]
    np.testing.assert_allclose(squares, expected, rtol=1e-12)


def test_a_small_distance_between_large_weights_does_not_cancel(distances):
    # 1 + 2⁻²³ is the next number after 1 in float32. In ‖a‖² + ‖b‖² − 2·a·b, 1e6·2⁻⁴⁶ is lost.
    size = CHUNK_ELEMENTS + 5
    ones = np.full(size, 1000, np.float32)
    updates = {"ann": {"w": ones}, "bob": {"w": np.nextafter(ones, np.float32(2000))}, "cleo": {"w": ones}}
    squares = distances({"w": ones}, updates)
    gap = float(np.spacing(np.float32(1000)))
    assert squares[0, 1] == squares[1, 0] == pytest.approx(size * gap**2, rel=1e-12)
    assert squares[0, 2] == 0


@given(count=st.integers(3, 9), seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=40)
def test_the_weights_are_those_of_the_papers_choice_whatever_the_order_of_arrival(
    make_updates_of_module, count, seed, data
):
    malicious = data.draw(st.integers(0, (count - 3) // 2))
    updates = {f"client-{index}": random_tensors(seed + index) for index in range(count)}
    best = int(np.argmin(papers_scores([flat(tensors) for tensors in updates.values()], malicious)))
    for order in (list(updates), data.draw(st.permutations(list(updates)))):
        round_updates = RoundUpdates(
            random_tensors(0),
            make_updates_of_module({client: updates[client] for client in order}),
            make_updates_of_module({}),
            contributions(dict.fromkeys(updates, 1)),
            RoundContext(1, 2, count),
            {},
        )
        result = krum(malicious).aggregate(round_updates)
        assert result.weights == dict.fromkeys(updates, 0.0) | {f"client-{best}": 1.0}
        for name, array in result.tensors.items():
            assert array.tobytes() == updates[f"client-{best}"][name].tobytes()


@pytest.mark.parametrize(
    ("count", "malicious", "selected"), [(3, 0, 1), (5, 1, 3), (5, 1, 4), (9, 3, 5), (9, 3, 0), (6, 0, 0)]
)
def test_multikrum_is_the_plain_mean_of_the_best(aggregate, count, malicious, selected):
    updates = {f"client-{index}": random_tensors(index) for index in range(count)}
    scores = papers_scores([flat(tensors) for tensors in updates.values()], malicious)
    best = sorted(range(count), key=scores.__getitem__)[: selected or count - malicious]
    options = MultiKrum.Options(malicious=malicious, selected=selected)
    clips = {client: 1 + index for index, client in enumerate(updates)}
    result = aggregate(MultiKrum(options), random_tensors(99), updates, clips=clips)
    assert result.weights == pytest.approx(
        {f"client-{index}": 1 / len(best) if index in best else 0.0 for index in range(count)}
    )
    for name, array in result.tensors.items():
        mean = np.mean([updates[f"client-{index}"][name].astype(np.float64) for index in best], axis=0)
        np.testing.assert_allclose(array, mean.astype(array.dtype), rtol=3e-7, err_msg=name)


def test_multikrum_with_one_client_is_krum(aggregate):
    updates = {f"client-{index}": random_tensors(index) for index in range(7)}
    one = aggregate(MultiKrum(MultiKrum.Options(malicious=2, selected=1)), random_tensors(99), updates)
    assert one.weights == aggregate(krum(2), random_tensors(99), updates).weights


def test_multikrum_needs_as_many_honest_clients_as_it_averages():
    assert MultiKrum(MultiKrum.Options(malicious=1, selected=3)).min_updates == 5
    assert MultiKrum(MultiKrum.Options(malicious=1, selected=6)).min_updates == 7


def test_liars_are_never_chosen_however_their_updates_agree(aggregate):
    base = random_tensors(0)
    honest = {
        f"honest-{index}": {
            name: (array + 1e-3 * random_tensors(index + 1)[name]).astype(array.dtype)
            for name, array in base.items()
        }
        for index in range(5)
    }
    # Two liars with the same update are at distance 0 from each other, and far from everyone else.
    liars = {f"a-liar-{index}": {name: array * 50 for name, array in base.items()} for index in range(2)}
    result = aggregate(krum(2), base, honest | liars)
    assert max(result.weights, key=result.weights.get).startswith("honest")


def test_of_equal_updates_the_first_by_name_counts(aggregate):
    tensors = random_tensors(1) | {"counter": np.array(2**62 + 3)}
    result = aggregate(krum(1), tensors, dict.fromkeys(["eve", "dan", "cleo", "bob", "ann"], tensors))
    assert result.weights == {"ann": 1.0, "bob": 0.0, "cleo": 0.0, "dan": 0.0, "eve": 0.0}
    for name, array in tensors.items():
        np.testing.assert_array_equal(result.tensors[name], array)


@pytest.mark.parametrize(("malicious", "count"), [(0, 1), (0, 2), (1, 4), (2, 6)])
def test_too_few_updates_are_an_error_that_says_how_many_are_needed(aggregate, malicious, count):
    updates = {f"client-{index}": random_tensors(index) for index in range(count)}
    needed = 2 * malicious + 3
    with pytest.raises(QuorumError, match=rf"round 1: {count} clients delivered; .*'krum'.* needs {needed};"):
        aggregate(krum(malicious), random_tensors(9), updates)


def test_an_update_that_is_not_finite_is_refused(aggregate):
    updates = {f"client-{index}": random_tensors(index) for index in range(5)}
    updates["client-3"]["conv.bias"][1] = np.nan
    with pytest.raises(UpdateError, match=r"'client-3' is refused: tensor 'conv\.bias'"):
        aggregate(krum(1), random_tensors(9), updates)


def test_an_update_beyond_the_range_of_float64_is_refused(aggregate):
    updates = {f"{index}": {"w": np.array([index, 1e300 if index == 2 else 1.0])} for index in range(5)}
    with np.errstate(over="ignore"), pytest.raises(UpdateError, match=r"'2' is refused: its distance from"):
        aggregate(krum(1), {"w": np.zeros(2)}, updates)


def test_distances_do_not_depend_on_the_size_of_a_piece(distances, monkeypatch):
    from fedvsr.strategies import updates as module

    updates = {str(index): random_tensors(index) for index in range(4)}
    whole = distances(random_tensors(9), updates)
    monkeypatch.setattr(module, "_PIECE_BYTES", 7 * 8 * 4)
    np.testing.assert_allclose(distances(random_tensors(9), updates), whole, rtol=1e-12)
