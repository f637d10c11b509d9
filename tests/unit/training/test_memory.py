"""Saving memory does not change the trained weights."""

import copy

import numpy as np
import pytest
import torch

from fedvsr.config.run import TrainingConfig
from fedvsr.models.basicvsr import BasicVSR, BasicVSROptions
from fedvsr.strategies.fedprox import ProximalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.memory import activation_checkpointing, split_batch
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchBatch
from tests.unit.training.toys import CPU, Stack, make_batches


def train(model, batches, **settings):
    training = TrainingConfig(learning_rate=1e-3, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        summary = train_locally(model, batches, Objective(), ProximalTerm(model, 0.1), training, CPU)
    return summary.loss, torch.cat([value.detach().flatten() for value in model.parameters()])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Stack()


@pytest.mark.parametrize("setting", ["activation_checkpointing", "activations_on_cpu"])
def test_the_trained_weights_are_the_same_bytes(model, setting):
    plain = train(copy.deepcopy(model), make_batches(3))
    saving = train(model, make_batches(3), **{setting: True})
    assert plain[0] == saving[0]
    assert torch.equal(plain[1], saving[1])
    # Afterwards the model's parts have no instance attribute `forward`, as before.
    assert not any("forward" in vars(module) for module in model.modules())


def test_checkpointing_a_recurrent_model_changes_nothing():
    torch.manual_seed(0)
    model = BasicVSR(4, BasicVSROptions(channels=8, blocks=1))
    random = np.random.default_rng(0)
    batch = PatchBatch(
        random.random((1, 3, 3, 64, 64), np.float32), random.random((1, 3, 3, 256, 256), np.float32), ("a",)
    )
    plain = train(copy.deepcopy(model), [batch])
    saving = train(model, [batch], activation_checkpointing=True)
    assert plain[0] == saving[0]
    assert torch.equal(plain[1], saving[1])


def test_checkpointing_keeps_fewer_activations(model):
    def saved_elements(enabled):
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        x = torch.rand(1, 2, 3, 8, 8)
        with (
            activation_checkpointing(model, enabled=enabled),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            model(x).sum()
        return sum(sizes)

    assert saved_elements(True) < saved_elements(False)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_accumulated_gradients_are_those_of_the_whole_batch(model, parts):
    plain = train(copy.deepcopy(model), make_batches(2))
    accumulated = train(model, make_batches(2), accumulation=parts)
    assert accumulated[0] == pytest.approx(plain[0], rel=1e-6)
    # Adam's first steps have the size of the learning rate, 1e-3. The tolerance is a hundredth of it.
    torch.testing.assert_close(accumulated[1], plain[1], rtol=0, atol=1e-5)


def test_a_batch_is_split_in_order_into_nearly_equal_parts():
    (batch,) = make_batches(1, size=5)
    parts = split_batch(batch, 3)
    assert [part.clips for part in parts] == [("clip-0", "clip-1"), ("clip-2", "clip-3"), ("clip-4",)]
    np.testing.assert_array_equal(
        np.concatenate([part.low_resolution for part in parts]), batch.low_resolution
    )


# PyTorch's compiler imports deprecated parts of PyTorch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiling_changes_at_most_the_last_bits(model):
    plain = train(copy.deepcopy(model), make_batches(2))
    compiled = train(model, make_batches(2), compile=True)
    assert compiled[0] == pytest.approx(plain[0], rel=1e-5)
    torch.testing.assert_close(compiled[1], plain[1], rtol=0, atol=1e-5)
