"""Published checkpoints become weights of fedvsr's models, or an error says why not."""

import argparse
import hashlib
import re
import sys
import types

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import torch as torch_files

from fedvsr.cli.main import cli
from fedvsr.errors import InputError, WeightsError
from fedvsr.models.checkpoint import read_checkpoint
from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.trained import load_trained
from fedvsr.weights import serialize

OPTIONS = {"channels": 8, "blocks": 1}


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build_model("fastvsr", 4, OPTIONS)


def read(path):
    return read_checkpoint(path, "fastvsr", 4, OPTIONS).tensors


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"params": state},
        lambda state: {"params": {}, "params_ema": state},
        lambda state: {"state_dict": {f"generator.{key}": value for key, value in state.items()}},
        lambda state: {"params": {f"module.{key}": value for key, value in state.items()}, "iter": 300000},
    ],
)
def test_checkpoints_of_all_known_frameworks_are_read(network, tmp_path, wrap):
    torch.save(wrap(dict(network.state_dict())), tmp_path / "net.pth")
    tensors = read(tmp_path / "net.pth")
    assert serialize(tensors) == serialize(state_of(network))


def test_safetensors(network, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(serialize(state_of(network)))
    assert serialize(read(tmp_path / "net.safetensors")) == serialize(state_of(network))


def test_weights_of_another_model_name_the_first_tensor(network, tmp_path):
    state = dict(network.state_dict())
    state["features.weight"] = state["features.weight"][:4]
    state["other"] = state.pop("features.bias")
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(
        WeightsError,
        match=r"fastvsr ×4 .*1 tensor of the model is missing, first 'features.bias'; 1 tensor is not in the "
        r"model, first 'other'; 1 tensor is of another shape or dtype, first 'features.weight': expected "
        r"float32 \[8, .*found float32 \[4, ",
    ):
        read(tmp_path / "net.pth")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"params": Evil()}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint of plain tensors"):
        read(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


def test_another_programs_objects_are_refused_by_name(network, tmp_path):
    state = dict(network.state_dict())
    for zipped in (True, False):
        torch.save(
            {"params": state, "arguments": argparse.Namespace(lr=1)},
            tmp_path / "net.pth",
            _use_new_zipfile_serialization=zipped,
        )
        with pytest.raises(WeightsError, match=r"reading argparse\.Namespace would run code") as caught:
            read(tmp_path / "net.pth")
        assert "download" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_mmengine_logs_beside_the_weights_is_passed_over(network, tmp_path, monkeypatch, zipped):
    class HistoryBuffer:
        def __init__(self):
            self.values = np.arange(3.0)

    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = HistoryBuffer
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    with monkeypatch.context() as patched:
        for name in ("mmengine", "mmengine.logging", module.__name__):
            patched.setitem(sys.modules, name, module)
        torch.save(
            {"state_dict": dict(network.state_dict()), "message_hub": {"loss": HistoryBuffer()}},
            tmp_path / "net.pth",
            _use_new_zipfile_serialization=zipped,
        )
    assert serialize(read(tmp_path / "net.pth")) == serialize(state_of(network))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="download it again"):
        read(tmp_path / "net.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_only_a_file_that_was_cut_short_is_to_be_downloaded_again(network, tmp_path, zipped):
    torch.save(dict(network.state_dict()), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "net.pth").read_bytes()
    (tmp_path / "net.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"not a whole PyTorch checkpoint .*download it again"):
        read(tmp_path / "net.pth")
    digest = hashlib.sha256(whole).hexdigest()[:8]
    path = tmp_path / f"net-{digest}.pth"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=f"not with {digest} as its name says; download it again"):
        read(path)
    path.write_bytes(whole)
    assert read_checkpoint(path, "fastvsr", 4, OPTIONS).notes == ()


def test_a_whole_file_that_differs_from_its_name_is_told(network, tmp_path):
    torch.save(dict(network.state_dict()), tmp_path / "net-0123abcd.pth")
    (note,) = read_checkpoint(tmp_path / "net-0123abcd.pth", "fastvsr", 4, OPTIONS).notes
    assert "not with 0123abcd as its name says" in note


@pytest.mark.parametrize(("averaged", "expected"), [(None, 1.0), (False, 1.0), (True, 2.0)])
def test_plain_weights_are_taken_before_the_moving_average(network, tmp_path, averaged, expected):
    plain = {key: torch.full_like(value, 1.0) for key, value in network.state_dict().items()}
    average = {key: torch.full_like(value, 2.0) for key, value in plain.items()}
    torch.save({"params_ema": average, "params": plain}, tmp_path / "net.pth")
    conversion = read_checkpoint(tmp_path / "net.pth", "fastvsr", 4, OPTIONS, averaged)
    assert {float(array.mean()) for array in conversion.tensors.values()} == {expected}
    (note,) = conversion.notes
    assert "params and params_ema" in note


@pytest.mark.parametrize(
    ("content", "averaged"), [({"params": 1.0}, True), ({"params_ema": 1.0}, False), ({}, True)]
)
def test_weights_that_the_file_does_not_have_are_refused(network, tmp_path, content, averaged):
    state = dict(network.state_dict())
    torch.save(dict.fromkeys(content, state) or state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=f"no {'moving average' if averaged else 'plain weights'}"):
        read_checkpoint(tmp_path / "net.pth", "fastvsr", 4, OPTIONS, averaged)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_tensors_of_16_bits_are_widened(network, tmp_path, dtype, suffix):
    path = tmp_path / f"net{suffix}"
    state = {key: value.to(dtype) for key, value in network.state_dict().items()}
    torch_files.save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    conversion = read_checkpoint(path, "fastvsr", 4, OPTIONS)
    for key, array in conversion.tensors.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[key].float().numpy())
    assert conversion.notes == (f"{len(state)} tensors of 16 bits are widened to float32",)


def to_mmagic(name):
    """Gives a tensor the name that it has in mmagic's BasicVSR and BasicVSR++."""
    name = re.sub(
        r"(basic_module\.\d\.basic_module)\.(\d)\.",
        lambda match: f"{match[1]}.{int(match[2]) // 2}.conv.",
        name,
    )
    name = re.sub(r"(forward|backward)_trunk", r"\1_resblocks", name)
    return re.sub(r"upconv(\d)", r"upsample\1.upsample_conv", name)


MMAGIC = {"basicvsr": {"channels": 8, "blocks": 1}, "basicvsr++": {"channels": 8, "blocks": 1}}


def mmagic_state(model, offset=0.0):
    state = {f"generator.{to_mmagic(key)}": value + offset for key, value in model.state_dict().items()}
    beside = {"step_counter": torch.zeros(1), "data_preprocessor.mean": torch.zeros(3, 1, 1)}
    return {**beside, **state}


@pytest.mark.parametrize("name", MMAGIC)
def test_mmagics_releases_are_read(tmp_path, name):
    model = build_model(name, 4, MMAGIC[name])
    torch.save({"meta": {"iter": 1}, "state_dict": mmagic_state(model)}, tmp_path / "net.pth")
    conversion = read_checkpoint(tmp_path / "net.pth", name, 4, MMAGIC[name])
    assert serialize(conversion.tensors) == serialize(state_of(model))
    assert "left out beside it: data_preprocessor.* (1), step_counter" in conversion.notes[0]
    assert "had mmagic's names" in conversion.notes[1]


@pytest.mark.parametrize(("averaged", "offset"), [(None, 1.0), (True, 1.0), (False, 0.0)])
def test_mmagics_moving_average_is_taken_before_the_plain_weights(tmp_path, averaged, offset):
    model = build_model("basicvsr", 4, MMAGIC["basicvsr"])
    average = {
        key.replace("generator.", "generator_ema.module."): value
        for key, value in mmagic_state(model, offset=1.0).items()
        if key.startswith("generator.")
    }
    state = {**mmagic_state(model), **average, "generator_ema.steps": torch.tensor(3)}
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    conversion = read_checkpoint(tmp_path / "net.pth", "basicvsr", 4, MMAGIC["basicvsr"], averaged)
    for key, value in state_of(model).items():
        np.testing.assert_array_equal(conversion.tensors[key], value + np.float32(offset))


def test_a_checkpoint_without_tensors(tmp_path):
    torch.save({"iter": 3}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read(tmp_path / "net.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "net.pth")


def test_the_command_makes_a_model_that_upscales_like_the_checkpoint(network, tmp_path):
    torch.nn.init.normal_(network.residual.weight)
    torch.save({"params_ema": dict(network.state_dict())}, tmp_path / "net.pth")
    arguments = ["models", "convert", str(tmp_path / "net.pth"), str(tmp_path / "net"), "--model", "fastvsr"]
    result = CliRunner().invoke(cli, [*arguments, "--option", "channels=8", "--option", "blocks=1", "--ema"])
    assert result.exit_code == 0, result.output
    model = load_trained(tmp_path / "net")
    assert model.record.source == "net.pth"
    clip = np.random.default_rng(0).integers(0, 256, (3, 10, 12, 3), dtype=np.uint8)
    network.eval()
    with torch.inference_mode():
        output = network(torch.from_numpy(clip).permute(0, 3, 1, 2).float().div(255).unsqueeze(0))
    expected = output[0].clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(model.upscale(clip, device="cpu"), expected)


def test_listing_still_works():
    result = CliRunner().invoke(cli, ["models"])
    assert result.exit_code == 0
    assert "basicvsr" in result.output
