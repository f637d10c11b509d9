"""Local training: its loss, its steps and its errors."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import NonFiniteLossError, TrainingError
from fedvsr.strategies.base import LocalResult, LocalTerm
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


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_a_client_ends_with_the_average_of_its_weights_over_the_steps(decay: float):
    model, weights = nn.Sequential(Gain(), nn.BatchNorm3d(3)), []

    def remember(step: int, loss: float) -> None:
        weights.append({name: value.clone() for name, value in model.state_dict().items()})

    train(model, constant_batches(4), ema_decay=decay, learning_rate=0.1, on_step=remember)
    shares = [decay ** (4 - step) for step in range(1, 5)]
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 4
            continue
        expected = np.average([np.float64(each[name]) for each in weights], axis=0, weights=shares)
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=name)
    assert float(weights[-1]["0.gain"]) != float(model[0].gain.detach())


def test_the_average_over_one_step_is_the_weights_after_it():
    with_average, without = Gain(), Gain()
    train(with_average, constant_batches(1), ema_decay=0.99)
    train(without, constant_batches(1))
    assert torch.equal(with_average.gain, without.gain)


def test_weight_decay_shrinks_the_weights_by_its_share_of_the_learning_rate():
    # Adam's first step is the learning rate, whatever the gradient: 0.5·(1 − 0.1·0.2) + 0.1.
    decayed, plain = Gain(), Gain()
    train(decayed, constant_batches(1), learning_rate=0.1, weight_decay=0.2)
    train(plain, constant_batches(1), learning_rate=0.1)
    assert float(decayed.gain.detach()) == pytest.approx(0.59, rel=1e-5)
    assert float(plain.gain.detach()) == pytest.approx(0.6, rel=1e-5)


def test_a_strategy_may_set_adams_state_before_the_first_step_and_read_it_at_the_end():
    class WarmStart(LocalTerm):
        def begin(self, optimizer: torch.optim.Adam) -> None:
            self.optimizer = optimizer
            for parameter in self.model.parameters():
                optimizer.state[parameter] = {
                    "step": torch.tensor(1000.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.full_like(parameter, 4.0),
                }

        def finish(self) -> LocalResult:
            (state,) = self.optimizer.state.values()
            return LocalResult(client_state={"v": state["exp_avg_sq"].numpy()})

    model = Gain()
    term = WarmStart(model, {}, {})
    train(model, constant_batches(1), term=term, learning_rate=0.1, beta1=0.0, beta2=0.5)
    # g = −0.4·0.4/0.4: the error is 0.5·0.4 − 0.6, and the slope of the gain is 0.4.
    second = 0.5 * 4 + 0.5 * 0.4**2
    assert float(model.gain.detach()) == pytest.approx(0.5 + 0.1 * 0.4 / math.sqrt(second), rel=1e-4)
    assert float(term.finish().client_state["v"]) == pytest.approx(second, rel=1e-4)


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


class Spy(LocalTerm):
    """Remembers what it saw of the gradients."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, {}, {})
        self.largest: list[float] = []

    def correct_gradients(self) -> None:
        self.largest.append(max(float(value.grad.abs().max()) for value in self.model.parameters()))


# So large a loss that its gradients overflow in float16 until the scale was halved several times.
LARGE = Objective(lambda_vsr=3e3, lambda_hf=0.0)


def test_in_float16_the_weights_move_as_in_float32():
    models = []
    for precision in ("float32", "float16"):
        torch.manual_seed(0)
        models.append(Upscaler())
        # Without the scale, gradients this small would become zero in float16.
        small = Objective(lambda_vsr=1e-5, lambda_hf=0.0)
        summary = train(models[-1], constant_batches(3), precision=precision, objective=small)
        assert summary.skipped_steps == 0
    full, half = models
    assert half.dtypes == [torch.float16] * 3
    assert half.mix.weight.dtype == torch.float32
    torch.testing.assert_close(half.mix.weight, full.mix.weight, rtol=0, atol=1e-4)


def test_a_step_whose_float16_gradients_overflow_changes_nothing_and_is_counted():
    torch.manual_seed(0)
    model = Upscaler()
    before, weights, term = model.mix.weight.detach().clone(), [], Spy(model)
    summary = train(
        model,
        constant_batches(12),
        precision="float16",
        objective=LARGE,
        term=term,
        on_step=lambda step, loss: weights.append(model.mix.weight.detach().clone()),
    )
    skipped = summary.skipped_steps
    assert 0 < skipped < summary.steps == len(weights) == 12
    assert all(torch.equal(value, before) for value in weights[:skipped])
    assert not torch.equal(weights[skipped], before)
    # The strategy sees the gradients of the steps that count, without the scale.
    assert len(term.largest) == 12 - skipped
    assert max(term.largest) < 1e6


def test_the_average_of_weights_leaves_out_skipped_steps():
    torch.manual_seed(0)
    model, weights = Upscaler(), []
    summary = train(
        model,
        constant_batches(12),
        precision="float16",
        objective=LARGE,
        ema_decay=0.5,
        on_step=lambda step, loss: weights.append(model.mix.weight.detach().clone()),
    )
    taken = weights[summary.skipped_steps :]
    shares = [0.5 ** (len(taken) - step) for step in range(1, len(taken) + 1)]
    expected = np.average([np.float64(each) for each in taken], axis=0, weights=shares)
    np.testing.assert_allclose(model.mix.weight.detach(), expected, rtol=1e-5)


def test_a_round_in_which_every_step_was_skipped_is_an_error():
    with pytest.raises(
        TrainingError, match=r"of all 2 steps overflowed.*set training\.precision to bfloat16"
    ):
        train(Upscaler(), constant_batches(2), precision="float16", objective=LARGE)


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
