"""Parts of a model start from weights of files, such as the flow network of published recipes."""

import hashlib
import re

import numpy as np
import pytest
import torch
from torch import nn

from fedvsr.config.run import ParameterRule, PretrainedFile
from fedvsr.errors import ConfigError, InputError, WeightsError
from fedvsr.models.pretrained import find_random_frozen, load_pretrained
from fedvsr.models.registry import build_model
from fedvsr.models.spynet import SPyNet
from fedvsr.models.state import state_of
from fedvsr.weights import serialize

OPTIONS = {"channels": 8, "blocks": 1}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("basicvsr", 4, OPTIONS)


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(1)
    return SPyNet()


def published(flow):
    """Returns the tensors of BasicSR's file: the convolutions alone, without the constants."""
    return {key: value for key, value in flow.state_dict().items() if key.startswith("basic_module")}


def mmagic(flow):
    """Returns the tensors of mmagic's file, whose convolutions are numbered one after the other."""
    return {
        re.sub(r"(\d)\.(\w+)$", lambda match: f"{int(match[1]) // 2}.conv.{match[2]}", key): value
        for key, value in published(flow).items()
    }


def load(model, path, sha256="", part="spynet"):
    return load_pretrained(model, state_of(model), {part: PretrainedFile(path=str(path), sha256=sha256)})


@pytest.mark.parametrize("content", [lambda flow: {"params": published(flow)}, mmagic, published])
def test_published_flow_networks_replace_the_random_one_and_nothing_else(model, flow, tmp_path, content):
    torch.save(content(flow), tmp_path / "flow.pth")
    tensors = load(model, tmp_path / "flow.pth")
    before = state_of(model)
    assert tensors.keys() == before.keys()
    for name, array in tensors.items():
        part, _, rest = name.partition(".")
        expected = flow.state_dict()[rest].numpy() if part == "spynet" else before[name]
        np.testing.assert_array_equal(array, expected)


def test_a_part_of_a_whole_model_is_taken(model, tmp_path):
    torch.manual_seed(2)
    other = state_of(build_model("basicvsr", 4, OPTIONS))
    folder = tmp_path / "converted"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(serialize(other))
    tensors = load(model, folder, part="forward_trunk")
    for name, before in state_of(model).items():
        np.testing.assert_array_equal(
            tensors[name], other[name] if name.startswith("forward_trunk.") else before
        )


def test_a_file_is_checked_against_its_digest(model, flow, tmp_path):
    path = tmp_path / "flow.pth"
    torch.save(published(flow), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load(model, path, digest)
    with pytest.raises(WeightsError, match=f"its SHA-256 is {digest}, not {'0' * 64}"):
        load(model, path, "0" * 64)
    named = path.rename(tmp_path / f"flow-{digest[:8]}.pth")
    assert load(model, named)
    renamed = named.rename(tmp_path / "flow-3d2a1287.pth")
    with pytest.raises(WeightsError, match="not with 3d2a1287 as its name says"):
        load(model, renamed)
    assert load(model, renamed, digest)
    assert load(model, renamed.rename(tmp_path / "flow-20240131.pth"))


def test_weights_of_another_network_are_refused(model, flow, tmp_path):
    state = published(flow)
    state["other"] = state.pop("basic_module.3.basic_module.2.bias")
    torch.save(state, tmp_path / "flow.pth")
    with pytest.raises(
        WeightsError, match=r"part 'spynet': 1 tensor of the model is missing, first 'basic_mod.*other"
    ):
        load(model, tmp_path / "flow.pth")


def test_a_part_that_the_model_does_not_have_is_refused(model, flow, tmp_path):
    torch.save(published(flow), tmp_path / "flow.pth")
    with pytest.raises(
        ConfigError, match=r"training\.pretrained\.flow: .*no such part; it has backward_trunk, .*spynet"
    ):
        load(model, tmp_path / "flow.pth", part="flow")


def test_a_missing_file_is_named(model, tmp_path):
    with pytest.raises(InputError, match=r"training\.pretrained\.spynet: .*none\.pth: no such file"):
        load(model, tmp_path / "none.pth")


def test_frozen_random_parameters_are_warned_of():
    model = nn.ModuleDict({"flow": nn.Linear(2, 2), "flow2": nn.Linear(2, 2), "tail": nn.Linear(2, 2)})
    rules = {
        "flow2": ParameterRule(learning_rate_multiplier=0.5),
        "flow": ParameterRule(frozen_steps=5),
        "weight": ParameterRule(frozen_steps=7),
    }
    first, second = find_random_frozen(model, rules, {})
    assert "training.parameters.flow freezes 2 parameters at random values for 5 steps" in first
    assert (
        "training.parameters.weight freezes 1 parameters at random values for 7 steps, first 'tail.weight'"
        in second
    )
    (only,) = find_random_frozen(model, rules, {"flow": None})
    assert only == second
