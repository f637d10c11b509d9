"""An update is verified by the read that aggregates it."""

from pathlib import Path

import numpy as np
import pytest

from fedvsr.errors import UpdateError
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.updates import UpdateFile, Updates
from fedvsr.weights import CHUNK_ELEMENTS, WeightsFile, serialize
from tests.unit.strategies.update_files import open_updates

# More than two chunks, an exact chunk, a scalar, an empty tensor, and buffers that are not floats.
TENSORS = {
    "large": np.linspace(-1, 1, 2 * CHUNK_ELEMENTS + 7, dtype=np.float32).reshape(-1, 1),
    "exact": np.linspace(0, 1, CHUNK_ELEMENTS, dtype=np.float64),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "counter": np.array(41, np.int64),
    "mask": np.array([True, False]),
}


@pytest.fixture
def open_one(tmp_path: Path):
    def open_file(data: bytes, digest: str = "") -> UpdateFile:
        path = tmp_path / "update"
        path.write_bytes(data)
        from fedvsr.store.base import bytes_digest

        return UpdateFile("bob", 3, WeightsFile(path, "its update"), digest or bytes_digest(data))

    return open_file


def test_chunks_join_into_the_tensors(open_one):
    file = open_one(serialize(TENSORS))
    for _ in range(2):
        tensors = dict(file.tensors())
        assert tensors.keys() == TENSORS.keys()
        for name, array in TENSORS.items():
            np.testing.assert_array_equal(tensors[name], array)
            assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)


def test_the_mean_over_chunks_is_that_of_whole_tensors(tmp_path):
    clients = {
        "ann": TENSORS,
        "bob": {name: (array * 3).astype(array.dtype) for name, array in TENSORS.items()},
    }
    updates = open_updates({client: tmp_path / client for client in clients}, clients)
    mean = weighted_mean(TENSORS, updates, {"ann": 0.25, "bob": 0.75})
    for name in ("large", "exact", "scalar", "empty"):
        ann, bob = (clients[client][name].astype(np.float64) for client in ("ann", "bob"))
        np.testing.assert_array_equal(mean[name], (0.25 * ann + 0.75 * bob).astype(TENSORS[name].dtype))
    assert mean["counter"] == round(0.25 * 41 + 0.75 * 123)


@pytest.mark.parametrize("position", [0, CHUNK_ELEMENTS, 2 * CHUNK_ELEMENTS + 6])
def test_a_value_that_is_not_finite_is_detected_in_any_chunk(open_one, position):
    large = TENSORS["large"].copy()
    large[position] = np.inf
    file = open_one(serialize(TENSORS | {"large": large}))
    with pytest.raises(UpdateError, match=r"client 'bob' .*'large': expected finite values, found 1 that"):
        file.verify()


def test_a_damaged_file_with_values_that_are_not_finite_is_reported_as_damaged(open_one):
    large = TENSORS["large"].copy()
    large[5] = np.nan
    with pytest.raises(UpdateError, match=r"its update: expected SHA-256 0000"):
        open_one(serialize(TENSORS | {"large": large}), "0" * 64).verify()


def test_a_damaged_header_that_still_parses_is_refused(open_one):
    from fedvsr.store.base import bytes_digest

    data = serialize(TENSORS)
    damaged = data.replace(b'"counter"', b'"Counter"')
    assert len(damaged) == len(data)
    with pytest.raises(UpdateError, match=r"expected SHA-256"):
        open_one(damaged, bytes_digest(data)).verify()


def test_an_update_is_hashed_once_however_often_it_is_read(open_one, monkeypatch):
    file = open_one(serialize(TENSORS))
    file.verify()
    monkeypatch.setattr("fedvsr.strategies.updates.hashlib.sha256", lambda: pytest.fail("hashed again"))
    file.verify()
    assert dict(file.tensors()).keys() == TENSORS.keys()


def test_pieces_of_all_clients_are_verified_first(tmp_path):
    good = open_updates({"ann": tmp_path / "ann"}, {"ann": TENSORS})
    assert [where for where, _ in good.pieces("scalar", 1)] == [slice(0, 1)]
    (tmp_path / "bob").write_bytes(serialize(TENSORS))
    bad = Updates({"bob": UpdateFile("bob", 1, WeightsFile(tmp_path / "bob", "its update"), "0" * 64)})
    with pytest.raises(UpdateError, match=r"expected SHA-256"):
        next(bad.pieces("scalar", 1))
