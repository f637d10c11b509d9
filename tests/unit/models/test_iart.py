import copy
import hashlib
import math

import pytest
import torch

from fedvsr.errors import ConfigError
from fedvsr.models import build_model, model_info
from fedvsr.models.implicit_alignment import ImplicitWarp
from fedvsr.models.state import load_state, state_of
from fedvsr.training.memory import activation_checkpointing
from fedvsr.weights import WeightsFile, serialize
from tests.unit.models.waves import filled, video

TINY = {"channels": 8, "groups": 1, "depth": 2, "heads": 2, "window_size": 4}


@pytest.fixture(scope="module")
def tiny():
    return filled(build_model("iart", 4, TINY))


def test_names_and_shapes_are_those_of_the_published_weights():
    model = build_model("iart", 4)
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert len(lines) == 1162
    assert digest == "c7bda06d8c52539202db53180ecf9eed96182aa6e944573699366b15222c2b82"
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == model_info("iart").parameters == 13_410_503


# The published implementation was run once beside ours, outside this repository: with these weights and
# inputs it gives these numbers too.
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2, 64, 64), [0.45082, 1.106547, -1.082121, 0.512134, 2.274489]),
        ((4, 69, 66), [0.450785, 1.118348, -0.82834, 0.486888, 1.912117]),
    ],
)
def test_outputs_for_known_weights(tiny, size, expected):
    T, h, w = size
    with torch.inference_mode():
        y = tiny(video(1, T, 3, h, w))
    found = [
        y.mean().item(),
        y.std().item(),
        y[0, 0, 0, 5, 7].item(),
        y[0, 1, 1, 40, 60].item(),
        y[0, -1, 2, -1, -1].item(),
    ]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_published_size_on_a_small_input():
    model = build_model("iart", 4).eval()
    with torch.inference_mode():
        y = model(video(1, 3, 3, 1, 1))
    assert y.shape == (1, 3, 3, 4, 4)
    assert y.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (2, 2, 16, 16), (1, 3, 9, 17)])
def test_any_number_of_frames_of_any_size(tiny, size):
    N, T, h, w = size
    with torch.inference_mode():
        assert tiny(video(N, T, 3, h, w)).shape == (N, T, 3, 4 * h, 4 * w)


def test_every_frame_depends_on_every_other(tiny):
    x = video(1, 4, 3, 8, 8).requires_grad_()
    for t in (0, 3):
        (gradient,) = torch.autograd.grad(tiny(x)[0, t].sum(), x)
        assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()


def test_videos_of_a_batch_do_not_mix(tiny):
    x = video(2, 3, 3, 8, 12)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x)[1:], tiny(x[1:]), atol=1e-5, rtol=1e-5)


def test_all_weights_that_are_used_receive_a_gradient(tiny):
    tiny(video(1, 3, 3, 16, 16)).square().mean().backward()
    unused = set()
    for name, parameter in tiny.named_parameters():
        if not parameter.requires_grad:
            unused.add(name.split(".", 2)[2].rpartition(".")[0])
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    assert unused == {"conv_first", "conv_first_feat", "conv_before_upsample"}
    tiny.zero_grad()


def test_weights_survive_a_file(tiny, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(serialize(state_of(tiny)))
    other = build_model("iart", 4, TINY)
    load_state(other, WeightsFile(tmp_path / "weights.safetensors").load(), "the file")
    restored = other.state_dict()
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, restored[name])
        table = name.endswith(("_index", "_offset"))
        assert tensor.dtype == (torch.int64 if table else torch.float32)


def test_branches_are_skipped_only_while_training():
    torch.manual_seed(0)
    model = build_model("iart", 4, TINY | {"drop_path_rate": 0.9})
    x = video(1, 2, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_checkpointing_changes_no_gradient():
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = build_model("iart", 4, TINY)
        with activation_checkpointing(model, enabled=enabled):
            model(video(1, 2, 3, 8, 8)).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
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


def test_implicit_warping_is_attention_to_four_pixels():
    torch.manual_seed(0)
    align = ImplicitWarp(8, 2)
    source, current = torch.randn(1, 8, 4, 5), torch.randn(1, 8, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[0, :, 1, 2] = torch.tensor([1.25, -0.5])
    flow[0, :, 3, 0] = torch.tensor([-7.0, 9.5])
    with torch.no_grad():
        y = align(source, current, flow)
        # (1, 2) points to row 0.5, column 3.25; (3, 0) beyond the lower left corner.
        for (row, column), rows, columns, between in (
            ((1, 2), (0, 1), (3, 4), (0.5, 0.25)),
            ((3, 0), (3, 3), (0, 0), (0.5, 0.0)),
        ):
            corners = [source[0, :, i, j] for i in rows for j in columns]
            marked = torch.stack(corners) + align.position_bias[0]
            waves = []
            for distance in between:
                angle = distance / 2 * 2 * math.pi
                waves += [math.sin(angle), math.cos(angle), math.sin(angle * 10), math.cos(angle * 10)]
            query = align.q(current[0, :, row, column] + torch.tensor(waves)).view(2, 4)
            key, value = align.k(marked).view(4, 2, 4), align.v(marked).view(4, 2, 4)
            weights = (torch.einsum("hc,phc->hp", query, key) / 2).softmax(1)
            expected = torch.einsum("hp,phc->hc", weights, value).flatten()
            torch.testing.assert_close(y[0, :, row, column], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 118},
        {"channels": 100},
        {"groups": 0},
        {"depth": 0},
        {"window_size": 1},
        {"heads": 1.5},
        {"drop_path_rate": -0.1},
        {"spynet": "path"},
    ],
)
def test_illegal_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        build_model("iart", 4, options)


def test_other_scales():
    with pytest.raises(ConfigError, match=r"data\.scale"):
        build_model("iart", 2)
