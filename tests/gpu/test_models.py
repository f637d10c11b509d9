"""Every model trains and evaluates on a GPU as on the CPU, within the tolerances stated here."""

import numpy as np
import pytest
import torch

from fedvsr.config.run import TrainingConfig
from fedvsr.device import repeatable
from fedvsr.models.registry import build_model, model_names
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch
from tests.unit.models.tiny import TINY

# Bicubic interpolation has nothing to train.
MODELS = sorted(set(model_names()) - {"bicubic"})
# The difference from float32 on the CPU. Of the loss and of the values of an upscaled frame, in [0, 1]:
# absolute. Of all gradients as one vector: its norm, relative to theirs. In float32, a GPU's convolutions use
# TF32, which has the fraction of float16. On a CPU, float16 and bfloat16 stay ten times below.
TOLERANCES = {
    "float32": {"loss": 1e-4, "frames": 2e-3, "gradients": 2e-2},
    "float16": {"loss": 1e-3, "frames": 5e-3, "gradients": 3e-2},
    "bfloat16": {"loss": 5e-3, "frames": 2e-2, "gradients": 0.15},
}
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# Stochastic depth draws other numbers on a GPU.
WITHOUT_CHANCE = {"vrt": {"drop_path_rate": 0.0}, "iart": {"drop_path_rate": 0.0}}
# The gradient of grid_sample adds up in any order: fedvsr.device promises the same bytes without it.
REPEATABLE = {"fastvsr"}


class Gradients(LocalTerm):
    """Keeps the gradients of the last step."""

    values: torch.Tensor

    def correct_gradients(self) -> None:
        gradients = [value.grad for value in self.model.parameters() if value.grad is not None]
        self.values = torch.cat([value.detach().double().flatten().cpu() for value in gradients])


def make(name: str, device: torch.device) -> torch.nn.Module:
    model = build_model(name, 4, {**TINY.get(name, {}), **WITHOUT_CHANCE.get(name, {})})
    # fastvsr's last convolution starts at zero, so that no gradient would pass.
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.01 * torch.randn(value.shape))
    return model.to(device)


def noise_batch(side: int = 16) -> PatchBatch:
    """A smooth pattern and its mean over 4 × 4 pixels, two patches of three frames."""
    random = np.random.default_rng(0)
    coarse = random.random((2, 3, 3, side, side), np.float32)
    truth = coarse.repeat(4, axis=-1).repeat(4, axis=-2)
    truth = np.clip(truth + 0.05 * random.standard_normal(truth.shape, np.float32), 0, 1)
    return PatchBatch(coarse, truth, ("first", "second"))


def train(name: str, device: torch.device, precision: str, steps: int = 1):
    """Returns the summary, the last step's gradients and the weights."""
    with repeatable(seed=0, threads=1):
        model = make(name, device)
        term = Gradients(model, {}, {})
        summary = train_locally(
            model,
            [noise_batch()] * steps,
            Objective(),
            term,
            TrainingConfig(precision=precision),
            device,
        )
        weights = torch.cat([value.detach().flatten().cpu() for value in model.parameters()])
        return summary, term.values, weights


def upscale(name: str, device: torch.device, precision: str) -> torch.Tensor:
    with repeatable(seed=0, threads=1), torch.no_grad():
        model = make(name, device).eval()
        frames = torch.from_numpy(noise_batch().low_resolution).to(device)
        dtype = DTYPES.get(precision)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return model(frames).float().cpu()


@pytest.fixture(scope="module")
def on_cpu():
    """What each model does on the CPU in float32, computed once."""
    results = {}

    def get(name):
        if name not in results:
            cpu = torch.device("cpu")
            results[name] = (*train(name, cpu, "float32")[:2], upscale(name, cpu, "float32"))
        return results[name]

    return get


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_is_that_of_the_cpu(name, precision, device, on_cpu):
    expected, expected_gradients, _ = on_cpu(name)
    summary, gradients, _ = train(name, device, precision)
    tolerance = TOLERANCES[precision]
    assert summary.loss == pytest.approx(expected.loss, rel=0, abs=tolerance["loss"])
    error = float((gradients - expected_gradients).norm() / expected_gradients.norm())
    assert error < tolerance["gradients"]


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", MODELS)
def test_upscaled_frames_are_those_of_the_cpu(name, precision, device, on_cpu):
    _, _, expected = on_cpu(name)
    largest = float((upscale(name, device, precision) - expected).abs().max())
    assert largest < TOLERANCES[precision]["frames"]


@pytest.mark.parametrize("name", MODELS)
def test_upscaling_twice_gives_the_same_bytes(name, device):
    assert torch.equal(upscale(name, device, "float32"), upscale(name, device, "float32"))


@pytest.mark.parametrize("name", MODELS)
def test_training_twice_gives_the_same_bytes_or_the_same_up_to_the_last_bits(name, device):
    _, _, first = train(name, device, "float32", steps=3)
    _, _, second = train(name, device, "float32", steps=3)
    if name in REPEATABLE:
        assert torch.equal(first, second)
    else:
        # Adam's steps have the size of the learning rate, 4e-4, also where a gradient is only rounding.
        assert float((first - second).abs().mean()) < 4e-5
