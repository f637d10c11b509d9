"""What every codec promises, for any tensors."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fedvsr.codecs.base import Codec
from fedvsr.codecs.registry import build_codec, codec_names
from fedvsr.errors import UnknownNameError, WeightsError
from fedvsr.weights import Array, Tensors, join_chunks, serialize, specs_of

CODECS = codec_names()
LOSSY = [name for name in CODECS if name != "float32"]
QUANTISING = {"int8": 8, "int4": 4, "int2": 2}

TENSORS: Tensors = {
    "a.weight": np.random.default_rng(0).standard_normal((17, 5, 3, 3)).astype(np.float32),
    "b.counter": np.asarray(np.int64(2**60 + 1)),
    "c.empty": np.empty((0, 3), np.float32),
    "d.scalar": np.asarray(np.float32(-2.5)),
    "e.mask": np.array([True, False, True]),
    "f.bias": np.full(3, 1e-3, np.float32),
    "g.double": np.linspace(-1, 1, 70_000).reshape(7, -1),
}

Encode = Callable[..., dict[str, Array]]


def encode(codec: Codec, tensors: Tensors, seed: int = 5) -> bytes:
    return codec.encode(sorted(tensors.items()), seed)


def decode(codec: Codec, path: Path, tensors: Tensors, seed: int = 5) -> dict[str, Array]:
    specs = specs_of(tensors)
    return dict(join_chunks(codec.open(path, specs, seed, "update").chunks(), specs))


@pytest.fixture
def travel(tmp_path: Path) -> Encode:
    """Encodes tensors into a file and decodes them."""

    def travel(codec: Codec, tensors: Tensors, seed: int = 5) -> dict[str, Array]:
        path = tmp_path / "update"
        path.write_bytes(encode(codec, tensors, seed))
        return decode(codec, path, tensors, seed)

    return travel


def normalised_error(decoded: Array, original: Array) -> float:
    error = decoded.astype(np.float64) - original.astype(np.float64)
    return float((error**2).sum() / (original.astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("name", CODECS)
def test_tensors_of_any_shape_and_dtype_come_back(name: str, travel: Encode) -> None:
    decoded = travel(build_codec(name), TENSORS)
    assert decoded.keys() == TENSORS.keys()
    for tensor, array in TENSORS.items():
        assert decoded[tensor].shape == array.shape
        if np.issubdtype(array.dtype, np.floating):
            bound = {"int2": 1.2, "int4": 0.06}.get(name, 3e-4)
            assert not array.size or normalised_error(decoded[tensor], array) < bound
        else:
            assert decoded[tensor].dtype == array.dtype
            assert np.array_equal(decoded[tensor], array)


@pytest.mark.parametrize("name", CODECS)
def test_the_same_tensors_and_seed_give_the_same_bytes(name: str) -> None:
    codec = build_codec(name)
    assert encode(codec, TENSORS) == encode(codec, TENSORS)
    if name in QUANTISING:
        assert encode(codec, TENSORS, 1) != encode(codec, TENSORS, 2)


@pytest.mark.parametrize(
    ("name", "most"), [("float32", 4.01), ("bfloat16", 1.45), ("int8", 0.98), ("int4", 0.47), ("int2", 0.22)]
)
def test_bytes_per_parameter_of_gaussian_differences(name: str, most: float) -> None:
    values = np.random.default_rng(0).standard_normal(500_000).astype(np.float32)
    assert len(encode(build_codec(name), {"w": values})) <= most * values.size


@pytest.mark.parametrize("name", CODECS)
def test_the_digest_covers_every_byte_of_the_file(name: str, tmp_path: Path) -> None:
    codec = build_codec(name)
    data = encode(codec, TENSORS)
    path = tmp_path / "update"
    path.write_bytes(data)
    digest = hashlib.sha256()
    for _ in codec.open(path, specs_of(TENSORS), 5, "update").chunks(digest):
        pass
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(name: str, value: float) -> None:
    bits = np.array([1.0, value], np.float32)
    if np.isnan(value):
        bits.view(np.uint32)[1] |= 0x7FFFFF
    with pytest.raises(WeightsError, match=f"tensor 'w' cannot be encoded as {name}: .* not finite"):
        encode(build_codec(name), {"w": bits})


@pytest.mark.parametrize("name", LOSSY)
def test_a_double_that_float32_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="not finite"):
        encode(build_codec(name), {"w": np.array([1e300])})


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, 1e-30, 1e30, 1e35])
def test_extreme_values_come_back(name: str, value: float, travel: Encode) -> None:
    values = np.full(1000, value, np.float32)
    values[::2] *= -1
    decoded = travel(build_codec(name), {"w": values})["w"].astype(np.float32)
    assert np.isfinite(decoded).all()
    # Values near the end of float32's normal range may count as zero.
    if value >= 1e-30:
        assert normalised_error(decoded / value, values / value) < 2
    else:
        assert abs(decoded - values).max() < 1e-35
    if value == 0:
        assert not decoded.any()


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.sampled_from(LOSSY),
    st.integers(0, 2**128),
)
def test_the_error_of_a_value_is_bounded(values: NDArray[np.float32], name: str, seed: int) -> None:
    codec = build_codec(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "update"
        path.write_bytes(encode(codec, {"w": values}, seed))
        decoded = decode(codec, path, {"w": values}, seed)["w"]
    error = np.linalg.norm((decoded.astype(np.float64) - values).ravel())
    size = np.linalg.norm(values.astype(np.float64).ravel())
    if name == "bfloat16":
        assert error <= size * 2**-8 + 1e-36
    else:
        # Each rounded value is off by at most 2s, s = max|y| / (2^b − 1) and max|y| is at most the norm.
        rows = max(1, min(256, 1 << max(0, (values.size - 1).bit_length())))
        assert error <= 2 * size * np.sqrt(rows) / (2 ** QUANTISING[name] - 1) * 1.001 + 1e-36


@pytest.mark.parametrize("name", QUANTISING)
def test_decoded_values_are_unbiased(name: str, travel: Encode) -> None:
    values = np.random.default_rng(3).standard_normal(700).astype(np.float32)
    draws = 400
    codec = build_codec(name)
    decoded = np.stack([travel(codec, {"w": values}, seed)["w"] for seed in range(draws)])
    deviation = decoded.std(axis=0).astype(np.float64) / np.sqrt(draws)
    z = (decoded.mean(axis=0) - values) / deviation
    # The mean of 700 squares of standard normal numbers is 1 ± 0.053; biased rounding gives far more.
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / values.size)
    assert abs(z.mean()) < 5 / np.sqrt(values.size)


@pytest.mark.parametrize("name", QUANTISING)
def test_the_error_on_gaussian_values_is_that_of_the_closed_form(name: str, travel: Encode) -> None:
    bits = QUANTISING[name]
    values = np.random.default_rng(4).standard_normal(256 * 1000).astype(np.float32)
    decoded = travel(build_codec(name), {"w": values})["w"]
    # Gaussian values stay Gaussian in a rotation. The mean square of the largest of 256, by simulation.
    largest = abs(np.random.default_rng(5).standard_normal((20_000, 256))).max(axis=1)
    levels = 2**bits - 1
    step = 2 * largest / levels
    if bits > 2:
        expected = (step**2).mean() / 6
    else:
        # With few levels, the position between them is not uniform: integrate f·(1 − f) over the values.
        sample = np.random.default_rng(6).standard_normal((2_000, 256))
        step = 2 * abs(sample).max(axis=1, keepdims=True) / levels
        position = (sample / step + levels / 2) % 1
        expected = (step**2 * position * (1 - position)).mean()
    assert normalised_error(decoded, values) == pytest.approx(expected, rel=0.03)


def test_the_rotation_keeps_one_large_value_from_hiding_the_others(travel: Encode) -> None:
    values = np.random.default_rng(7).standard_normal(65_536).astype(np.float32)
    # One value of a thousand in each block of 256, which lies in a column of a matrix (256, 256).
    values[:256] = 1000
    decoded = travel(build_codec("int4"), {"w": values})["w"].astype(np.float64)
    step = 2 * 1000 / 15
    without_rotation = step**2 / 6
    error = float(((decoded - values)[256:] ** 2).mean())
    assert error < without_rotation / 100


@pytest.mark.parametrize("name", LOSSY)
class TestDamage:
    def test_a_file_of_another_codec(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "update"
        for other in set(CODECS) - {name}:
            path.write_bytes(encode(build_codec(other), TENSORS))
            with pytest.raises(WeightsError, match=f"expected the codec {name}"):
                build_codec(name).open(path, specs_of(TENSORS), 5, "its update")

    def test_a_shorter_or_longer_model(self, name: str, tmp_path: Path) -> None:
        codec = build_codec(name)
        path = tmp_path / "update"
        path.write_bytes(encode(codec, TENSORS))
        larger = {**TENSORS, "z": np.zeros(1000, np.float32)}
        with pytest.raises(WeightsError, match="ends before the model is complete"):
            decode(codec, path, larger)
        path.write_bytes(encode(codec, larger))
        with pytest.raises(WeightsError, match="expands beyond the size of the model"):
            decode(codec, path, TENSORS)

    def test_a_frame_that_is_cut_short(self, name: str, tmp_path: Path) -> None:
        codec = build_codec(name)
        whole = np.frombuffer(_frame(encode(codec, TENSORS)), np.uint8)
        for length in (0, 1, 10, whole.size // 2, whole.size - 100):
            path = tmp_path / "update"
            path.write_bytes(serialize({name: whole[:length]}))
            with pytest.raises(WeightsError, match=r"ends before the model is complete|damaged"):
                decode(codec, path, TENSORS)

    def test_a_bomb_expands_no_further_than_the_model(self, name: str, tmp_path: Path) -> None:
        codec = build_codec(name)
        bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
        path = tmp_path / "update"
        path.write_bytes(serialize({name: np.frombuffer(bomb, np.uint8)}))
        with pytest.raises(WeightsError, match="expands beyond"):
            decode(codec, path, TENSORS)

    def test_a_window_that_would_take_much_memory(self, name: str, tmp_path: Path) -> None:
        parameters = zstandard.ZstdCompressionParameters(window_log=27)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        frame = compressor.compress(bytes(1000)) + compressor.flush()
        path = tmp_path / "update"
        path.write_bytes(serialize({name: np.frombuffer(frame, np.uint8)}))
        with pytest.raises(WeightsError, match="its stream is damaged"):
            decode(build_codec(name), path, TENSORS)


@pytest.mark.parametrize("name", QUANTISING)
@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_is_not_finite_or_negative_is_refused(name: str, scale: float, tmp_path: Path) -> None:
    codec = build_codec(name)
    tensors = {"w": np.ones(256, np.float32)}
    raw = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(_frame(encode(codec, tensors))))
    raw[:4] = np.float32(scale).tobytes()
    path = tmp_path / "update"
    path.write_bytes(serialize({name: np.frombuffer(zstandard.compress(bytes(raw)), np.uint8)}))
    with pytest.raises(WeightsError, match="tensor 'w': a scale is negative or not finite"):
        decode(codec, path, tensors)


def test_an_unknown_codec_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"int3.*int4"):
        build_codec("int3")


def _frame(data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    return data[8 + length :]
