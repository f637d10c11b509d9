"""Properties of every published architecture; those of one architecture are tested in separate files."""

import copy

import pytest
import torch

from fedvsr.errors import ConfigError
from fedvsr.models import build_model
from fedvsr.models.state import load_state, state_of
from fedvsr.training.memory import activation_checkpointing
from fedvsr.weights import WeightsFile, serialize
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import filled, video

NAMES = list(TINY)
FORWARD = "rrn"
"""The model that sees no later frames, and that upscales by other factors than 4."""
UNUSED = {"iart": {"conv_first", "conv_first_feat", "conv_before_upsample"}}
"""Modules of the published networks that compute nothing. They exist for their weights, untrained."""

INVALID = {
    "basicvsr": ({"channels": 0}, {"blocks": 0}, {"spynet": "path"}),
    "basicvsr++": (
        {"channels": 12},
        {"channels": 0},
        {"blocks": 0},
        {"blocks": 1.5},
        {"maximum_residue": 0},
        {"depth": 3},
    ),
    "iart": (
        {"channels": 118},
        {"channels": 100},
        {"groups": 0},
        {"depth": 0},
        {"window_size": 1},
        {"heads": 1.5},
        {"drop_path_rate": -0.1},
        {"spynet": "path"},
    ),
    "rrn": ({"channels": 0}, {"blocks": 0}, {"blocks": 1.5}, {"detail": "high"}),
    "rvrt": (
        {"channels": 0},
        {"blocks": 0},
        {"depth": 0},
        {"window": 1},
        {"heads": 5},
        {"heads": 0},
        {"alignment_heads": 5},
        {"offset_groups": 9},
        {"offset_groups": 10},
        {"maximum_residue": 0},
        {"clip": 3},
    ),
    "vrt": (
        {"channels": 118},
        {"channels": 100},
        {"refining_channels": 100},
        {"depth": 1},
        {"refining_stages": 1},
        {"window_size": 1},
        {"neighbours": 4},
        {"deformable_groups": 7},
        {"deformable_groups": 16, "neighbours": 3},
        {"drop_path_rate": 1},
        {"drop_path_rate": "high"},
        {"heads": True},
    ),
}


@pytest.fixture(scope="module", params=NAMES)
def tiny(request):
    model = filled(build_model(request.param, 4, TINY[request.param]))
    model.name = request.param
    return model


@pytest.mark.parametrize("name", NAMES)
def test_the_published_size_on_the_smallest_input(name):
    model = build_model(name, 4).eval()
    with torch.inference_mode():
        y = model(video(1, 1, 3, 1, 1))
    assert y.shape == (1, 1, 3, 4, 4)
    assert y.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1, 9, 7), (2, 2, 16, 16), (1, 3, 33, 18)])
def test_any_length_and_size_is_valid(tiny, size):
    N, T, h, w = size
    with torch.inference_mode():
        y = tiny(video(N, T, 3, h, w))
    assert y.shape == (N, T, 3, 4 * h, 4 * w)
    assert y.isfinite().all()


def test_every_frame_depends_on_every_other(tiny):
    if tiny.name == FORWARD:
        pytest.skip("an output frame depends on earlier frames only: see test_rrn.py")
    x = video(1, 4, 3, 8, 8).requires_grad_()
    y = tiny(x)
    for t in (0, 3):
        (gradient,) = torch.autograd.grad(y[0, t].sum(), x, retain_graph=True)
        assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()


def test_videos_of_a_batch_do_not_mix(tiny):
    x = video(2, 3, 3, 8, 12)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x)[1:], tiny(x[1:]), atol=1e-5, rtol=1e-5)


def test_a_video_does_not_change_the_output_of_the_next_one(tiny):
    # After a mirrored video, BasicVSR++'s published code treats all later videos as mirrored.
    x = video(1, 4, 3, 8, 8)
    with torch.inference_mode():
        before = tiny(x)
        tiny(torch.cat((x, x.flip(1)), 1))
        assert torch.equal(tiny(x), before)


def test_a_gradient_reaches_every_trainable_parameter(tiny):
    tiny.zero_grad()
    tiny(video(1, 4, 3, 16, 12)).square().mean().backward()
    fixed = set()
    for name, parameter in tiny.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None
            fixed.add(name.split(".", 2)[2].rpartition(".")[0])
    assert fixed == UNUSED.get(tiny.name, set())
    tiny.zero_grad()


def test_weights_are_the_same_after_saving_and_loading(tiny, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(serialize(state_of(tiny)))
    other = build_model(tiny.name, 4, TINY[tiny.name])
    load_state(other, WeightsFile(tmp_path / "weights.safetensors").load(), "the file")
    restored = other.state_dict()
    assert list(restored) == list(tiny.state_dict())
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, restored[name])
        table = name.endswith(("_index", "_offset"))
        assert tensor.dtype == restored[name].dtype == (torch.int64 if table else torch.float32)


def test_checkpointing_changes_no_gradient(tiny):
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(0)  # for the branches that are skipped while training
        model = copy.deepcopy(tiny).train()
        with activation_checkpointing(model, enabled=enabled):
            model(video(1, 4, 3, 8, 8)).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_double_precision(tiny):
    x = video(1, 3, 3, 16, 16)
    with torch.inference_mode():
        y = copy.deepcopy(tiny).double()(x.double())
        assert y.dtype == torch.float64
        torch.testing.assert_close(y.float(), tiny(x), atol=1e-4, rtol=1e-4)


def test_bfloat16_under_autocast(tiny):
    x = video(1, 3, 3, 16, 16)
    with torch.inference_mode():
        exact = tiny(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(x)
    assert (rough - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {FORWARD}))
def test_other_scales_are_refused(name):
    with pytest.raises(ConfigError, match=r"data\.scale"):
        build_model(name, 2)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, cases in INVALID.items() for options in cases]
)
def test_invalid_options_are_refused(name, options):
    with pytest.raises(ConfigError, match=rf"^model\.options\.{next(iter(options))}: "):
        build_model(name, 4, options)
