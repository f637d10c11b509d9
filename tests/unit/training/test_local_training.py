"""Local training: its loss, its steps and its errors."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import NonFiniteLossError, TrainingError
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.video.patches import ClipPair, PatchBatch, PatchSampler

CPU = torch.device("cpu")
CHARBONNIER = Objective(lambda_vsr=1.0, lambda_hf=0.0, epsilon=1e-9)


class Gain(nn.Module):
    """Repeats every pixel 2 × 2 times and multiplies by its only parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


class Upscaler(nn.Module):
    """One convolution, rearranged to twice the size. It records the dtypes that it computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 12, 1)
        self.dtypes: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.mix(x.flatten(0, 1))
        self.dtypes.append(mixed.dtype)
        frames = nn.functional.pixel_shuffle(mixed, 2)
        return frames.reshape(*x.shape[:2], *frames.shape[1:])


class NaNAt(Gain):
    """Returns NaN in one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        return super().forward(x) * (math.nan if self.left == 0 else 1.0)


class Penalty(LocalTerm):
    """Adds a number to the loss."""

    def penalty(self, low_resolution: torch.Tensor) -> torch.Tensor:
        return torch.tensor(1000.0) + 0 * sum(parameter.sum() for parameter in self.model.parameters())


def constant_batches(count: int, low: float = 0.4, truth: float = 0.6) -> Iterator[PatchBatch]:
    """Yields batches of patches with one shade of grey."""
    for step in range(count):
        yield PatchBatch(
            np.full((2, 3, 3, 4, 4), low, np.float32),
            np.full((2, 3, 3, 8, 8), truth, np.float32),
            (f"left-{step}", f"right-{step}"),
        )


def train(
    model: nn.Module, batches, *, term: LocalTerm | None = None, on_step=lambda step, loss: None, **settings
):
    return train_locally(
        model,
        batches,
        settings.pop("objective", CHARBONNIER),
        term or LocalTerm(model, {}, {}),
        TrainingConfig(**settings),
        CPU,
        on_step,
    )


def test_the_reported_loss_is_the_mean_over_the_steps():
    # Step 1: 0.5·0.4 misses 0.6 by 0.4. Adam's first step is the learning rate against the gradient's
    # sign, whatever its size: the gain becomes 0.6. Step 2: 0.6·0.4 misses 0.6 by 0.36.
    model, seen = Gain(), []
    summary = train(
        model, constant_batches(2), learning_rate=0.1, on_step=lambda step, loss: seen.append((step, loss))
    )
    first, second = math.sqrt(0.4**2 + 1e-9), math.sqrt(0.36**2 + 1e-9)
    assert seen == [(1, pytest.approx(first, rel=1e-5)), (2, pytest.approx(second, rel=1e-5))]
    assert summary.loss == pytest.approx((first + second) / 2, rel=1e-5)
    assert (summary.steps, summary.samples) == (2, 4)
    assert summary.seconds > 0


def test_the_model_is_trained_in_place_in_training_mode():
    model = nn.Sequential(Gain(), nn.BatchNorm3d(3)).eval()
    train(model, constant_batches(3))
    assert model.training
    assert model[1].num_batches_tracked == 3
    assert float(model[0].gain.detach()) != 0.5


def test_a_frozen_parameter_stays_the_same():
    model = nn.Sequential(Gain(), Gain().requires_grad_(False))
    model[0].gain.data += 1
    model[0] = nn.Sequential(model[0], nn.AvgPool3d((1, 2, 2)))
    train(model, constant_batches(2))
    assert float(model[1].gain) == 0.5


def test_the_reported_loss_excludes_the_strategys_penalty():
    plain, penalised = Gain(), Gain()
    without = train(plain, constant_batches(2))
    within = train(penalised, constant_batches(2), term=Penalty(penalised, {}, {}))
    assert within.loss == without.loss


def test_a_strategy_may_change_the_gradients_before_the_step():
    class Reverse(LocalTerm):
        def correct_gradients(self) -> None:
            for parameter in self.model.parameters():
                parameter.grad = -parameter.grad

    model = Gain()
    train(model, constant_batches(1), term=Reverse(model, {}, {}), learning_rate=0.1)
    assert float(model.gain.detach()) == pytest.approx(0.4)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_its_clips(step: int):
    steps: list[int] = []
    with pytest.raises(NonFiniteLossError) as caught:
        train(NaNAt(step), constant_batches(3), on_step=lambda number, loss: steps.append(number))
    assert caught.value.step == step
    assert caught.value.clips == (f"left-{step - 1}", f"right-{step - 1}")
    assert str(caught.value) == (
        f"the loss is nan at step {step} (batch: left-{step - 1}, right-{step - 1}); "
        "lower training.learning_rate or look at these clips"
    )
    assert steps == list(range(1, step))


def test_final_weights_that_are_not_finite_are_reported_with_the_tensor():
    class Overflow(Gain):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("statistics", torch.zeros(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.statistics[1] = math.inf
            return super().forward(x)

    with pytest.raises(
        TrainingError, match=r"tensor 'statistics' is not finite after step 2; lower training"
    ):
        train(Overflow(), constant_batches(2))


def test_training_on_nothing_is_an_error():
    with pytest.raises(TrainingError, match=r"no batch to train on"):
        train(Gain(), iter(()))


def test_in_bfloat16_the_loss_and_the_weights_stay_float32():
    torch.manual_seed(0)
    model = Upscaler()
    summary = train(model, constant_batches(1), precision="bfloat16", objective=Objective())
    assert model.dtypes == [torch.bfloat16]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert math.isfinite(summary.loss)


def test_a_network_learns_from_the_clips_of_a_sampler(make_clip):
    # The ground truth repeats each pixel four times, which a convolution and a rearrangement can do exactly.
    low = make_clip(0, frames=4, size=16)
    truth = low.repeat(2, axis=1).repeat(2, axis=2)
    sampler = PatchSampler([ClipPair("waves", truth, low, 2)], frames=3, patch_size=16, batch_size=2, seed=0)
    torch.manual_seed(0)
    model = Upscaler()
    losses: list[float] = []
    train(
        model,
        (sampler.batch(step) for step in range(80)),
        objective=Objective(),
        learning_rate=2e-2,
        on_step=lambda step, loss: losses.append(loss),
    )
    assert np.mean(losses[-5:]) < 0.3 * losses[0]


def test_the_objective_weights_its_two_terms():
    # A constant difference has no high band, so that term is √ε.
    prediction, target = torch.full((1, 2, 3, 4, 4), 0.75), torch.full((1, 2, 3, 4, 4), 0.25)
    charbonnier, nothing = math.sqrt(0.25 + 1e-6), 1e-3
    assert float(Objective(2.0, 0.0, 1e-6)(prediction, target)) == pytest.approx(2 * charbonnier)
    assert float(Objective(1.0, 3.0, 1e-6)(prediction, target)) == pytest.approx(charbonnier + 3 * nothing)
