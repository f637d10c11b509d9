"""The cost of a training step, from short steps on a CPU."""

import pytest
import torch

from fedvsr.config.run import RunConfig
from fedvsr.errors import InputError
from fedvsr.experiment.measure import measure_step
from fedvsr.models.registry import build_model

OPTIONS = {"channels": 8, "blocks": 1}
CPU = torch.device("cpu")


def cost(**training):
    config = RunConfig.parse(
        {
            "name": "study",
            "data": {"minimum_frames": 16},
            "model": {"name": "fastvsr", "options": OPTIONS},
            "training": {"patch_size": 32, "frames": 4, "batch_size": 1, "threads": 1, **training},
        }
    )
    return measure_step(config, CPU)


def memory(**training):
    measured = cost(**training)
    assert measured.seconds > 0
    return measured.memory


@pytest.fixture(scope="module")
def fixed():
    """What weights, gradients and Adam's moments take, whatever the batch."""
    parameters = build_model("fastvsr", 4, OPTIONS).parameters()
    return 4 * 4 * sum(parameter.numel() for parameter in parameters)


def test_activations_grow_with_the_batch_and_shrink_with_its_parts(fixed):
    one = memory() - fixed
    assert one > 0
    assert memory(batch_size=6) - fixed == 6 * one
    assert memory(batch_size=6, accumulation=3) - fixed == 2 * one


def test_activations_grow_linearly_with_the_frames(fixed):
    four, eight, sixteen = (memory(frames=frames) - fixed for frames in (4, 8, 16))
    assert sixteen - eight == pytest.approx(2 * (eight - four), abs=2)
    assert eight > 1.5 * four


def test_activations_count_what_the_loss_and_the_network_keep(fixed):
    # At the least the upscaled frames and their ground truth are kept, in float32.
    assert memory() - fixed > 2 * 4 * (4 * 3 * 32 * 32)
    assert memory(activation_checkpointing=True) < memory()


def test_frozen_parameters_are_measured_as_if_they_were_trained(fixed):
    assert memory(parameters={".": {"frozen_steps": 100}}) == memory()


def test_a_step_takes_at_most_half_of_the_free_memory(fixed, monkeypatch):
    four = cost(frames=4)
    assert "1 patch of 2 and 4 frames" in four.how
    monkeypatch.setattr("fedvsr.experiment.measure.free_memory", lambda: 1.9 * (four.memory - fixed))
    half = cost(frames=4)
    assert "1 patch of 2 frames" in half.how
    assert half.memory == pytest.approx(four.memory, rel=0.2)
    monkeypatch.setattr("fedvsr.experiment.measure.free_memory", lambda: 1e5)
    with pytest.raises(InputError, match="takes more than half of the free memory"):
        cost(frames=4)
