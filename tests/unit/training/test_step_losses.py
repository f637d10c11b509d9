"""When a step's loss is read, and what happens then."""

import math

import pytest
import torch
from torch import nn

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import NonFiniteLossError
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.training.step_losses import StepLosses
from tests.unit.training.toys import CPU, Stack, make_batches


def test_a_gpu_is_read_one_step_late_and_a_cpu_at_once():
    assert StepLosses.on(torch.device("cuda:1")).lag == 1
    assert StepLosses.on(CPU).lag == 0


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_losses_are_read_in_order_and_late(lag):
    losses = StepLosses(lag)
    read = []
    for step in range(1, 6):
        losses.add(step, torch.tensor(step / 10), ())
        read += losses.take()
        assert [number for number, _ in read] == list(range(1, step - lag + 1))
    read += losses.take(lag=0)
    assert [number for number, _ in read] == [1, 2, 3, 4, 5]
    assert losses.values == [value for _, value in read] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


class NaNAt(Stack):
    """Returns NaN in one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        return super().forward(x) * (math.nan if self.left == 0 else 1.0)


def train(model: nn.Module, on_step=lambda step, loss: None):
    return train_locally(
        model,
        [_renamed(batch, step) for step, batch in enumerate(make_batches(4), start=1)],
        Objective(),
        LocalTerm(model, {}, {}),
        TrainingConfig(),
        CPU,
        on_step,
    )


def _renamed(batch, step):
    return type(batch)(batch.low_resolution, batch.ground_truth, (f"clip-of-{step}",) * 3)


@pytest.fixture
def late(monkeypatch):
    """Reads losses one step late, as on a GPU."""
    monkeypatch.setattr(StepLosses, "on", classmethod(lambda cls, device: cls(lag=1)))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_loss_that_is_read_late_still_stops_with_its_own_step_and_clips(late, step):
    steps = []
    with pytest.raises(NonFiniteLossError) as caught:
        train(NaNAt(step), lambda number, loss: steps.append(number))
    assert (caught.value.step, caught.value.clips[0]) == (step, f"clip-of-{step}")
    assert steps == list(range(1, step))


def test_reading_late_changes_neither_weights_nor_losses(monkeypatch):
    results = []
    for lag in (0, 1):
        monkeypatch.setattr(StepLosses, "on", classmethod(lambda cls, device, lag=lag: cls(lag)))
        torch.manual_seed(0)
        model, seen = Stack(), []
        summary = train(model, lambda step, loss, seen=seen: seen.append((step, loss)))
        weights = torch.cat([value.detach().flatten() for value in model.parameters()])
        results.append((summary.loss, seen, weights))
    (loss, seen, weights), (late_loss, late_seen, late_weights) = results
    assert (loss, seen) == (late_loss, late_seen)
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert torch.equal(weights, late_weights)
