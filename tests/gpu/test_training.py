"""What only a GPU can show of local training: nothing waits, errors arrive late, and several ranks."""

import math

import numpy as np
import pytest
import torch

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import NonFiniteLossError, TrainingError
from fedvsr.federation import layout
from fedvsr.federation.client.train import train_client
from fedvsr.federation.run.prepare import plan_round, prepare_run
from fedvsr.store.workspace import Workspace
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.memory_errors import clear_memory_errors
from fedvsr.training.objective import Objective
from fedvsr.weights import load
from tests.unit.training.toys import Stack, make_batches


class NaNAt(Stack):
    """Returns NaN in one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        return super().forward(x) * (math.nan if self.left == 0 else 1.0)


def train(model, batches, device, on_step=lambda step, loss: None, **settings):
    model.to(device)
    term = LocalTerm(model, {}, {})
    return train_locally(model, batches, Objective(), term, TrainingConfig(**settings), device, on_step)


def test_no_step_waits_for_the_gpu(cuda):
    def batches():
        # Before the first batch and after the last, PyTorch may wait.
        torch.cuda.set_sync_debug_mode("error")
        yield from make_batches(5)
        torch.cuda.set_sync_debug_mode("default")

    steps = []
    try:
        summary = train(Stack(), batches(), cuda, lambda step, loss: steps.append((step, loss)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5]
    assert summary.loss == pytest.approx(np.mean([loss for _, loss in steps]))


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_loss_that_is_not_finite_stops_with_its_own_step(device, step):
    steps = []
    with pytest.raises(NonFiniteLossError) as caught:
        train(NaNAt(step), make_batches(4), device, lambda number, loss: steps.append(number))
    assert caught.value.step == step
    assert steps == list(range(1, step))


@pytest.mark.parametrize(
    "settings",
    [
        {"activation_checkpointing": True},
        {"activations_on_cpu": True},
        {"accumulation": 3},
        {"compile": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
# PyTorch's compiler imports deprecated parts of PyTorch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_settings_that_save_memory_or_time_change_nothing_but_rounding(device, settings):
    results = []
    for values in ({}, settings):
        torch.manual_seed(0)
        model = Stack()
        results.append((train(model, make_batches(3), device, **values).loss, model))
    (loss, plain), (changed_loss, changed) = results
    assert changed_loss == pytest.approx(loss, rel=1e-4)
    for value, other in zip(plain.parameters(), changed.parameters(), strict=True):
        torch.testing.assert_close(other, value, rtol=0, atol=1e-4)


def test_missing_memory_is_one_error(cuda):
    message = r"ann: the memory of cuda ran out \(CUDA out of memory\)"
    with pytest.raises(TrainingError, match=message), clear_memory_errors("ann", cuda):
        torch.empty(1 << 50, device=cuda)


def test_two_ranks_deliver_what_one_does(device, tmp_path, make_config, make_clip, write_clips):
    """With two GPUs each rank has one (NCCL); with one they share it (gloo)."""
    weights, reports = [], []
    for name, processes in (("alone", 1), ("shared", 2)):
        workspace = Workspace.under(str(tmp_path / name))
        clips = {f"ann-{index}": make_clip(index) for index in range(3)}
        write_clips(workspace.client("ann"), layout.training_clips("default"), clips, tmp_path)
        config = make_config(
            federation__clients=["ann"],
            training__device=device.type,
            training__batch_size=3,
            training__processes=processes,
            training__learning_rate=1e-3,
        )
        store = workspace.federation()
        record = prepare_run(store, config)
        plan_round(store, record, 1)
        reports.append(train_client(store, workspace.client("ann"), record, 1, "ann"))
        weights.append(load(store.read(layout.update("test", 1, "ann")), "update"))
    assert reports[1].loss == pytest.approx(reports[0].loss, rel=1e-4)
    assert reports[1].device == f"2 × {device.type}"
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, rtol=0, atol=1e-4, err_msg=name)
