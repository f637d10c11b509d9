import hashlib

import pytest
import torch

from fedvsr.errors import ConfigError
from fedvsr.models import build_model, deform_conv, model_info
from fedvsr.models.state import load_state, state_of
from fedvsr.weights import WeightsFile, serialize
from tests.unit.models.waves import filled, video

TINY = {"channels": 8, "blocks": 1}


@pytest.fixture(scope="module")
def tiny():
    return filled(build_model("basicvsr++", 4, TINY))


def test_names_and_shapes_are_those_of_the_published_weights():
    model = build_model("basicvsr++", 4)
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert len(lines) == 274
    assert digest == "f66e6af99fecbf40f2a59229035504100968633a3162807e95b6d2f397e02a77"
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == model_info("basicvsr++").parameters == 7_322_927


# The published implementation was run once beside ours, outside this repository: with these weights and
# inputs it gives these numbers too.
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), [0.652847, 0.844919, -0.761143, 1.397962, 1.483544]),
        ((69, 94), [0.652795, 0.817675, -0.698684, 1.283627, 1.618144]),
    ],
)
def test_outputs_for_known_weights(tiny, monkeypatch, size, expected, plain):
    if plain:
        monkeypatch.setattr(deform_conv, "_OPERATOR", None)
    with torch.inference_mode():
        y = tiny(video(1, 4, 3, *size))
    found = [
        y.mean().item(),
        y.std().item(),
        y[0, 0, 0, 5, 7].item(),
        y[0, 1, 1, 40, 60].item(),
        y[0, 3, 2, -1, -1].item(),
    ]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_published_size_on_the_smallest_input():
    model = build_model("basicvsr++", 4).eval()
    with torch.inference_mode():
        y = model(video(1, 1, 3, 1, 1))
    assert y.shape == (1, 1, 3, 4, 4)
    assert y.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1, 9, 7), (2, 2, 16, 16), (1, 3, 33, 40)])
def test_any_number_of_frames_of_any_size(tiny, size):
    N, T, h, w = size
    with torch.inference_mode():
        assert tiny(video(N, T, 3, h, w)).shape == (N, T, 3, 4 * h, 4 * w)


def test_every_frame_depends_on_every_other(tiny):
    x = video(1, 4, 3, 16, 16).requires_grad_()
    for t in (0, 3):
        (gradient,) = torch.autograd.grad(tiny(x)[0, t].sum(), x)
        assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()


def test_videos_of_a_batch_do_not_mix(tiny):
    x = video(2, 3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x)[1:], tiny(x[1:]), atol=1e-5, rtol=1e-5)


def test_a_mirrored_video_leaves_no_trace(tiny):
    # The published code remembers that it once saw one, and takes later videos' flows for mirrored too.
    x = video(1, 4, 3, 16, 16)
    with torch.inference_mode():
        before = tiny(x)
        tiny(torch.cat((x, x.flip(1)), 1))
        assert torch.equal(tiny(x), before)


def test_all_weights_receive_a_gradient(tiny):
    tiny(video(1, 3, 3, 32, 32)).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    tiny.zero_grad()


def test_weights_survive_a_file(tiny, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(serialize(state_of(tiny)))
    other = build_model("basicvsr++", 4, TINY)
    load_state(other, WeightsFile(tmp_path / "weights.safetensors").load(), "the file")
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in tiny.state_dict().items())


def test_bfloat16_under_autocast(tiny):
    x = video(1, 3, 3, 16, 16)
    with torch.inference_mode():
        exact = tiny(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(x)
    assert (rough - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize(
    "options",
    [{"channels": 12}, {"channels": 0}, {"blocks": 0}, {"maximum_residue": 0}, {"blocks": 1.5}, {"depth": 3}],
)
def test_illegal_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        build_model("basicvsr++", 4, options)


def test_other_scales():
    with pytest.raises(ConfigError, match=r"data\.scale"):
        build_model("basicvsr++", 2)
