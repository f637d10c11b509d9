"""Weights files: the same bytes for the same weights, and clear errors for invalid files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import save as save_torch

from fedvsr.errors import WeightsError
from fedvsr.models.state import load_state, state_of
from fedvsr.weights import TensorSpec, WeightsFile, find_misfit, serialize, specs_of

DTYPES = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
TENSORS = st.dictionaries(st.text("abc.", min_size=1, max_size=6), hnp.arrays(DTYPES, SHAPES), max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@given(tensors=TENSORS, data=st.data())
def test_bytes_do_not_depend_on_the_order_and_every_tensor_comes_back(folder, tensors, data):
    order = data.draw(st.permutations(list(tensors)))
    path = folder / "weights"
    path.write_bytes(serialize(tensors))
    assert serialize({name: tensors[name] for name in order}) == path.read_bytes()
    file = WeightsFile(path)
    loaded = file.load()
    assert list(loaded) == sorted(tensors)
    assert file.specs == specs_of(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_a_view_is_written_with_its_own_values(folder):
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    path = folder / "view"
    path.write_bytes(serialize({"transposed": array.T, "strided": array[::2, ::-3]}))
    loaded = WeightsFile(path).load()
    np.testing.assert_array_equal(loaded["transposed"], array.T)
    np.testing.assert_array_equal(loaded["strided"], array[::2, ::-3])


@given(array=hnp.arrays(np.int32, SHAPES), data=st.data())
def test_a_part_is_a_slice_of_the_flat_tensor(folder, array, data):
    start = data.draw(st.integers(0, array.size))
    stop = data.draw(st.integers(start, array.size))
    path = folder / "part"
    path.write_bytes(serialize({"tensor": array}))
    np.testing.assert_array_equal(WeightsFile(path).part("tensor", start, stop), array.ravel()[start:stop])


def test_a_part_does_not_keep_its_base_array_in_memory(folder):
    path = folder / "rows"
    path.write_bytes(serialize({"tensor": np.zeros((2, 100_000), np.float32)}))
    part = WeightsFile(path).part("tensor", 10, 20)
    assert part.base is None


def whole() -> bytes:
    return serialize({"conv.weight": np.ones((4, 3), np.float32)})


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"this is some text, but no weights", whole()[:-1], whole()[:20], whole() + b"\0"],
    ids=["empty", "one byte", "text", "last byte cut", "header cut", "one byte too many"],
)
def test_an_invalid_weights_file_is_refused(folder, content):
    path = folder / "broken"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"^the update: not a whole safetensors file"):
        WeightsFile(path, "the update")


def test_a_missing_file_and_a_folder_are_refused(folder):
    with pytest.raises(WeightsError, match=r"none: no such file$"):
        WeightsFile(folder / "none")
    with pytest.raises(WeightsError, match=r"cannot be read"):
        WeightsFile(folder)


def test_bfloat16_is_refused_with_the_tensors_name(folder):
    path = folder / "bfloat16"
    path.write_bytes(save_torch({"conv.weight": torch.zeros(2, dtype=torch.bfloat16)}))
    with pytest.raises(WeightsError, match=r"tensor 'conv.weight' has dtype BF16; weights travel as one of"):
        WeightsFile(path)


def test_a_models_whole_state_travels_through_a_file(folder):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    model.register_buffer("mask", torch.tensor([True, False]))
    model.register_buffer("table", torch.tensor([2**53 + 1]))
    model(torch.rand(2, 3, 8, 8))
    path = folder / "model"
    path.write_bytes(serialize(state_of(model)))
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    other.register_buffer("mask", torch.tensor([False, False]))
    other.register_buffer("table", torch.tensor([0]))
    load_state(other, WeightsFile(path).load(), "weights")
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert other[1].num_batches_tracked == 1


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({}, "tensor 'w' is missing"),
        ({"w": np.zeros((2, 3), np.float32), "x": np.zeros(1)}, "tensor 'x' is not in the model"),
        ({"w": np.zeros((3, 2), np.float32)}, "tensor 'w': expected float32 [2, 3], found float32 [3, 2]"),
        ({"w": np.zeros((2, 3))}, "tensor 'w': expected float32 [2, 3], found float64 [2, 3]"),
        ({"w": np.full((2, 3), np.nan, np.float32)}, None),
    ],
)
def test_the_first_difference_is_named(tensors, problem):
    assert find_misfit(specs_of(tensors), {"w": TensorSpec((2, 3), np.dtype("float32"))}) == problem
