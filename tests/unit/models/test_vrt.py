import copy
import hashlib

import pytest
import torch

from fedvsr.errors import ConfigError
from fedvsr.models import build_model, deform_conv, model_info
from fedvsr.models.mirror import mirror_to
from fedvsr.models.state import load_state, state_of
from fedvsr.models.vrt import REDS_16_FRAMES
from fedvsr.training.memory import activation_checkpointing
from fedvsr.weights import WeightsFile, serialize
from tests.unit.models.waves import filled, video

TINY = {
    "channels": 8,
    "depth": 2,
    "refining_channels": 12,
    "refining_stages": 2,
    "refining_depth": 1,
    "heads": 2,
    "window_frames": 2,
    "window_size": 2,
    "deformable_groups": 4,
}
# All windows are shifted somewhere, and three frames are warped from either side.
DEEP = TINY | {
    "channels": 12,
    "depth": 8,
    "refining_depth": 2,
    "refining_stages": 3,
    "window_frames": 4,
    "neighbours": 3,
    "deformable_groups": 6,
}


@pytest.fixture(scope="module")
def tiny():
    return filled(build_model("vrt", 4, TINY))


@pytest.mark.parametrize(
    ("options", "tensors", "count", "expected"),
    [
        ({}, 1666, 30_676_435, "bad4217836519a8cf793bd353f4a0e59b6b0473c702bec062605c0e4903bc5f4"),
        (
            REDS_16_FRAMES,
            1666,
            35_134_783,
            "c52edb2fff50d38651729134399996c0099801ef71e8b0f44064d6f3ee35c2e0",
        ),
    ],
)
def test_names_and_shapes_are_those_of_the_published_weights(options, tensors, count, expected):
    model = build_model("vrt", 4, options)
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), digest) == (tensors, expected)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_registry_knows_the_size():
    assert model_info("vrt").parameters == 30_676_435


# The published implementation was run once beside ours, outside this repository: with these weights and
# inputs it gives these numbers too.
@pytest.mark.parametrize(
    ("options", "size", "plain", "expected"),
    [
        (TINY, (2, 40, 40), False, [0.761876, 0.736822, 1.054758, 1.79123, 0.404838]),
        (TINY, (2, 40, 40), True, [0.761876, 0.736822, 1.054758, 1.79123, 0.404838]),
        (TINY, (3, 40, 48), False, [0.761858, 0.76623, 0.650821, 1.70924, -0.138697]),
        (DEEP, (5, 40, 40), False, [0.308255, 0.844703, 1.652165, -0.009381, 0.277738]),
    ],
)
def test_outputs_for_known_weights(monkeypatch, options, size, plain, expected):
    if plain:
        monkeypatch.setattr(deform_conv, "_OPERATOR", None)
    T, h, w = size
    model = filled(build_model("vrt", 4, options))
    with torch.inference_mode():
        y = model(video(1, T, 3, h, w))
    found = [
        y.mean().item(),
        y.std().item(),
        y[0, 0, 0, 5, 7].item(),
        y[0, 1, 1, 40, 60].item(),
        y[0, -1, 2, -1, -1].item(),
    ]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_published_channels_and_depths_on_the_smallest_input():
    # Windows of 2 × 2 instead of 8 × 8 make the smallest frames 16 × 16 instead of 64 × 64, which take half a
    # minute.
    model = build_model("vrt", 4, {"window_size": 2}).eval()
    with torch.inference_mode():
        y = model(video(1, 2, 3, 16, 16))
    assert y.shape == (1, 2, 3, 64, 64)
    assert y.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (2, 3, 9, 17), (1, 5, 18, 16)])
def test_any_number_of_frames_of_any_size(tiny, size):
    N, T, h, w = size
    with torch.inference_mode():
        assert tiny(video(N, T, 3, h, w)).shape == (N, T, 3, 4 * h, 4 * w)


def test_what_is_missing_is_mirrored(tiny):
    x = video(1, 1, 3, 20, 16)
    whole = torch.cat((x, x[:, :, :, -4:].flip(3)), 3)
    with torch.inference_mode():
        y = tiny(torch.cat((whole, whole), 1))
        assert torch.equal(tiny(x), y[:, :1, :, :80])


def test_a_mirror_image_is_mirrored_again():
    assert mirror_to(torch.tensor([1, 2, 3]), 8, 0).tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert mirror_to(torch.tensor([[7], [8]]), 3, 1).tolist() == [[7, 7, 7], [8, 8, 8]]
    x = torch.arange(4)
    assert mirror_to(x, 3, 0) is x


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_fewer_frames_than_neighbours(neighbours):
    options = TINY | {"channels": 12, "neighbours": neighbours, "deformable_groups": neighbours}
    model = filled(build_model("vrt", 4, options))
    with torch.inference_mode():
        assert model(video(1, 2, 3, 16, 16)).isfinite().all()


def test_every_frame_depends_on_the_others(tiny):
    x = video(1, 3, 3, 16, 16).requires_grad_()
    for t in (0, 2):
        (gradient,) = torch.autograd.grad(tiny(x)[0, t].sum(), x)
        assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()


def test_videos_of_a_batch_do_not_mix(tiny):
    x = video(2, 3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x)[1:], tiny(x[1:]), atol=1e-5, rtol=1e-5)


def test_reversing_time_mirrors_the_output_once_the_two_directions_are_alike():
    model = filled(build_model("vrt", 4, TINY))
    with torch.no_grad():
        first = model.conv_first.weight
        first[:, 15:] = first[:, 3:15]
        for name, parameter in model.named_parameters():
            if ".pa_fuse.fc1" in name and name.endswith("weight"):
                parameter[:, 16:] = parameter[:, 8:16]
            if name.endswith("relative_position_bias_table") and len(parameter) == 27:
                table = parameter.view(3, 3, 3, -1)
                table[2] = table[0]
    x = video(1, 4, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(x.flip(1)), model(x).flip(1), atol=1e-4, rtol=1e-4)


def test_all_weights_receive_a_gradient(tiny):
    tiny(video(1, 3, 3, 16, 16)).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    tiny.zero_grad()


def test_weights_survive_a_file(tiny, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(serialize(state_of(tiny)))
    other = build_model("vrt", 4, TINY)
    load_state(other, WeightsFile(tmp_path / "weights.safetensors").load(), "the file")
    restored = other.state_dict()
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, restored[name])
        assert tensor.dtype == (torch.int64 if name.endswith("_index") else torch.float32)


def test_a_new_model_starts_from_the_flow_and_skips_branches_only_while_training():
    torch.manual_seed(0)
    model = build_model("vrt", 4, TINY | {"drop_path_rate": 0.9})
    assert all(not module.conv_offset[-1].weight.any() for module in _deformable(model))
    x = video(1, 2, 3, 16, 16)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_checkpointing_changes_no_gradient():
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = build_model("vrt", 4, TINY)
        with activation_checkpointing(model, enabled=enabled):
            model(video(1, 2, 3, 16, 16)).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_double_precision(tiny):
    x = video(1, 3, 3, 16, 16)
    with torch.inference_mode():
        y = copy.deepcopy(tiny).double()(x.double())
        assert y.dtype == torch.float64
        torch.testing.assert_close(y.float(), tiny(x), atol=1e-4, rtol=1e-4)


def test_bfloat16_under_autocast(tiny):
    x = video(1, 2, 3, 16, 16)
    with torch.inference_mode():
        exact = tiny(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(x)
    assert (rough - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize(
    "options",
    [
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
    ],
)
def test_illegal_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        build_model("vrt", 4, options)


def test_other_scales():
    with pytest.raises(ConfigError, match=r"data\.scale"):
        build_model("vrt", 2)


def _deformable(model):
    return [getattr(model, f"stage{number}").pa_deform for number in range(1, 8)]
