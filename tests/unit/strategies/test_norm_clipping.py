"""Updates far above the round's median norm are scaled down, and all others are left as they are."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.errors import UpdateError
from fedvsr.strategies.base import Aggregate, Contribution, RoundContext, RoundUpdates, Strategy
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.fedmedian import FedMedian
from fedvsr.strategies.norm_clipping import ClippedFile, MeasuredFile, aggregate_clipped
from fedvsr.strategies.registry import build_strategy, strategy_names
from fedvsr.strategies.scaffold import Scaffold
from fedvsr.weights import CHUNK_ELEMENTS, WeightsFile

CLIENTS = ("ann", "bob", "cleo", "dan", "eve")
MORE_CLIENTS = (*CLIENTS, "fay", "gus")
# The strategies with which one client, however large its update is, hardly moves the global weights.
HOLD_ALONE = {"fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan", "geometric-median", "qfedavg"}


def tensors(seed: int, size: float = 1.0) -> dict[str, np.ndarray]:
    """More than one chunk, several dtypes, a scalar, an empty tensor, and buffers that are not floats."""
    random = np.random.default_rng(seed)
    return {
        "large": (size * random.standard_normal(CHUNK_ELEMENTS + 7)).astype(np.float32).reshape(-1, 1),
        "double": size * random.standard_normal((3, 5)),
        "half": (size * random.standard_normal(6)).astype(np.float16),
        "scalar": np.array(size, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "counter": np.array(1000 * seed),
        "mask": np.array([True, False]),
    }


BASE = tensors(0)


def moved(seed: int, size: float) -> dict[str, np.ndarray]:
    """Returns the base weights plus a random step of this size in each coordinate."""
    step = tensors(seed, size)
    return {
        name: (array + step[name]).astype(array.dtype) if array.dtype.kind == "f" else step[name]
        for name, array in BASE.items()
    }


def norm(update, base) -> float:
    """The oracle: NumPy's norm of all floating-point elements, in one array."""
    parts = [
        array.astype(np.float64).ravel() - (base[name].astype(np.float64).ravel() if base else 0.0)
        for name, array in update.items()
        if array.dtype.kind == "f"
    ]
    return float(np.linalg.norm(np.concatenate(parts)))


def honest(count: int = 5, size: float = 0.01) -> dict[str, dict[str, np.ndarray]]:
    return {client: moved(index + 1, size) for index, client in enumerate(MORE_CLIENTS[:count])}


@pytest.fixture
def make_round(make_updates):
    def make(updates, strategy_tensors=None) -> RoundUpdates:
        return RoundUpdates(
            BASE,
            make_updates(updates),
            make_updates(strategy_tensors or {}),
            tuple(Contribution(client, 1.0, 1, 1) for client in sorted(updates)),
            RoundContext(2, 10, len(updates)),
            {},
        )

    return make


# Norms and scaling


@pytest.mark.parametrize("base", [BASE, {}])
def test_the_norm_is_that_of_numpy_whichever_way_the_file_is_read(make_updates, base):
    update = moved(1, 0.5)
    for read in ("chunks", "verify", "norm"):
        file = MeasuredFile(make_updates({"ann": update}).files["ann"], base)
        if read == "chunks":
            list(file.chunks())
        elif read == "verify":
            file.verify()
        assert file.norm == pytest.approx(norm(update, base), rel=1e-5)


@given(scale=st.floats(0, 1), seed=st.integers(1, 99))
def test_a_scaled_file_has_the_norm_times_the_scale_and_its_integers(scaled_file, scale, seed):
    update = moved(seed, 0.5)
    file = scaled_file(update, scale)
    for name, start, stop in [("large", 0, 9), ("large", CHUNK_ELEMENTS - 3, CHUNK_ELEMENTS + 7)]:
        expected = BASE[name] + scale * (update[name].astype(np.float64) - BASE[name])
        np.testing.assert_allclose(file.part(name, start, stop), expected.ravel()[start:stop], atol=1e-6)
    read = {}
    for chunk in file.chunks():
        assert chunk.values.dtype == update[chunk.name].dtype
        np.testing.assert_array_equal(chunk.values, file.part(chunk.name, chunk.start, chunk.stop))
        read.setdefault(chunk.name, []).append(chunk.values.copy())
    whole = {name: np.concatenate(parts).reshape(update[name].shape) for name, parts in read.items()}
    base = {name: BASE[name] for name in whole}
    assert norm(whole, base) == pytest.approx(scale * norm(update, BASE), rel=1e-3, abs=2e-3)
    for name in ("counter", "mask"):
        np.testing.assert_array_equal(whole[name], update[name])


@pytest.fixture(scope="module")
def scaled_file(tmp_path_factory):
    from tests.unit.strategies.update_files import open_updates

    path = tmp_path_factory.mktemp("scaled") / "update"

    def make(update, scale):
        return ClippedFile(open_updates({"ann": path}, {"ann": update}).files["ann"], BASE, scale)

    return make


def test_values_at_the_end_of_a_dtypes_range_are_scaled_without_overflow(make_updates):
    base = {"w": np.array([-1.7e308, 1.0])}
    file = make_updates({"ann": {"w": np.array([1.7e308, 3.0])}}).files["ann"]
    with np.errstate(all="raise"):
        (chunk,) = ClippedFile(file, base, 0.5).chunks()
    np.testing.assert_allclose(chunk.values, [0.0, 2.0])


# A round


@pytest.mark.parametrize("name", strategy_names())
def test_an_honest_round_has_the_same_bytes_with_and_without_a_bound(make_round, name):
    strategy_tensors = None
    if name == "scaffold":
        strategy_tensors = {client: {"large": tensors(7, 0.1)["large"]} for client in CLIENTS}
    strategy = build_strategy(name)
    updates = honest(max(5, strategy.min_updates))
    plain = strategy.aggregate(make_round(updates, strategy_tensors))
    bounded = aggregate_clipped(strategy, make_round(updates, strategy_tensors), 10.0)
    assert (bounded.updates, bounded.strategy_tensors) == ({}, {})
    for before, after in (
        (plain.tensors, bounded.aggregate.tensors),
        (plain.strategy_state, bounded.aggregate.strategy_state),
    ):
        assert before.keys() == after.keys()
        for key, array in before.items():
            assert array.tobytes() == after[key].tobytes()


@pytest.mark.parametrize("name", sorted(set(strategy_names()) - {"scaffold"}))
def test_an_update_scaled_by_1000_is_held_to_the_bound(make_round, name):
    strategy = build_strategy(name)
    count = max(5, strategy.min_updates)
    updates = honest(count)
    median = float(np.median([norm(update, BASE) for update in updates.values()]))
    updates["bob"] = moved(2, 10.0)
    result = aggregate_clipped(strategy, make_round(updates), 10.0)
    assert result.updates.keys() == {"bob"}
    assert result.updates["bob"].norm == pytest.approx(norm(updates["bob"], BASE))
    assert result.updates["bob"].max_norm == pytest.approx(10 * median, rel=0.01)
    # A mean of n updates moves by at most their mean norm; a median by less. FedDyn adds h/α, which is
    # as much in its first round.
    factor = 2 if name == "feddyn" else 1
    reach = factor * (10 + (count - 1) * 1.01) / count * median * 1.01
    assert norm(result.aggregate.tensors, BASE) <= reach
    unbounded = aggregate_clipped(strategy, make_round(updates), math.inf)
    assert unbounded.updates == {}
    if name not in HOLD_ALONE:
        assert norm(unbounded.aggregate.tensors, BASE) > 50 * median


def test_the_mean_with_a_clipped_update_is_that_of_numpy(make_round):
    updates = honest() | {"bob": moved(2, 10.0)}
    result = aggregate_clipped(FedAvg(), make_round(updates), 3.0)
    clipping = result.updates["bob"]
    assert clipping.max_norm == pytest.approx(
        3 * np.median([norm(u, BASE) for u in updates.values()]), rel=1e-5
    )
    steps = {client: update["large"].astype(np.float64) - BASE["large"] for client, update in updates.items()}
    steps["bob"] = steps["bob"] * clipping.max_norm / clipping.norm
    expected = BASE["large"] + sum(steps.values()) / 5
    np.testing.assert_allclose(result.aggregate.tensors["large"], expected, atol=1e-6)
    # The counters of all five are averaged as they came.
    assert result.aggregate.tensors["counter"] == 3000


def test_a_liar_cannot_blow_up_scaffolds_control_variate(make_round):
    variates = {client: {"double": tensors(index, 0.1)["double"]} for index, client in enumerate(CLIENTS)}
    median = float(np.median([norm(variate, {}) for variate in variates.values()]))
    variates["eve"] = {"double": np.full((3, 5), 1e6)}
    result = aggregate_clipped(Scaffold(), make_round(honest(), variates), 10.0)
    assert (result.updates, result.strategy_tensors.keys()) == ({}, {"eve"})
    assert norm(result.aggregate.strategy_state, {}) <= (10 + 4 * 2) / 5 * median


def test_two_liars_of_five_do_not_raise_the_bound(make_round):
    updates = honest() | {"bob": moved(2, 10.0), "ann": moved(1, 1e4)}
    result = aggregate_clipped(FedAvg(), make_round(updates), 10.0)
    largest = max(norm(updates[client], BASE) for client in ("cleo", "dan", "eve"))
    assert result.updates.keys() == {"ann", "bob"}
    assert all(clipping.max_norm <= 10 * largest * 1.00001 for clipping in result.updates.values())


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_updates_are_never_clipped(make_round, count):
    updates = honest(count) | {"ann": moved(1, 1e3)}
    assert aggregate_clipped(FedAvg(), make_round(updates), 1.0).updates == {}


def test_a_median_of_zero_clips_nothing(make_round):
    updates = {"ann": BASE, "bob": BASE, "cleo": moved(3, 0.01)}
    assert aggregate_clipped(FedAvg(), make_round(updates), 10.0).updates == {}


@pytest.mark.parametrize("value", [1e-12, 1e18, 1e30, 3e38])
def test_norms_that_float32_cannot_hold_are_measured(make_updates, value):
    update = {"w": np.full(1000, value, np.float32)}
    file = MeasuredFile(make_updates({"ann": update}).files["ann"], {"w": np.full(1000, -value, np.float32)})
    assert file.norm == pytest.approx(2 * value * math.sqrt(1000), rel=1e-5)


def test_a_norm_beyond_float64_is_refused(make_round):
    updates = honest() | {"bob": BASE | {"double": np.full((3, 5), 1e300)}}
    with pytest.raises(UpdateError) as caught:
        aggregate_clipped(FedAvg(), make_round(updates), 10.0)
    assert (caught.value.client, caught.value.reason) == ("bob", "its norm is beyond the range of float64")


# Reading


@pytest.fixture
def reads(monkeypatch):
    """Counts the complete reads of files."""
    real, paths = WeightsFile.chunks, []

    def chunks(self, digest=None):
        paths.append(self.path)
        return real(self, digest)

    monkeypatch.setattr(WeightsFile, "chunks", chunks)
    return paths


@pytest.mark.parametrize("strategy", [FedAvg(), FedMedian()])
@pytest.mark.parametrize(("size", "factor", "count"), [(0.01, 10.0, 1), (10.0, math.inf, 1)])
def test_each_update_is_read_once_if_none_is_clipped(make_round, reads, strategy, size, factor, count):
    updates = make_round(honest() | {"bob": moved(2, size)})
    aggregate_clipped(strategy, updates, factor)
    assert len(reads) == count * len(CLIENTS)


class OnlyAnn(Strategy):
    """Reads one update, as a strategy of another package may."""

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        return Aggregate(dict(updates.updates.tensors("ann")))


def test_a_strategy_that_reads_one_update_gets_it_clipped_too(make_round):
    updates = honest() | {"ann": moved(1, 10.0)}
    result = aggregate_clipped(OnlyAnn(), make_round(updates), 2.0)
    assert result.updates.keys() == {"ann"}
    moved_by = norm(result.aggregate.tensors, BASE)
    assert moved_by == pytest.approx(dataclasses.astuple(result.updates["ann"])[1], rel=1e-2)
