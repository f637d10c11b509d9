"""Published checkpoints become weights of fedvsr's models, or an error says why not."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

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
    return read_checkpoint(path, "fastvsr", 4, OPTIONS)


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
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"fastvsr ×4 .*'features.weight': expected float32 \[8"):
        read(tmp_path / "net.pth")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"params": Evil()}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint of plain tensors"):
        read(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="download it again"):
        read(tmp_path / "net.pth")


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
    result = CliRunner().invoke(cli, [*arguments, "--option", "channels=8", "--option", "blocks=1"])
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
