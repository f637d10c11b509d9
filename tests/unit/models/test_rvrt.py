import hashlib

import pytest
import torch

from fedvsr.errors import ConfigError
from fedvsr.models import build_model, model_info
from fedvsr.models.state import load_state, state_of
from fedvsr.weights import WeightsFile, serialize
from tests.unit.models.waves import video

TINY = {
    "channels": 8,
    "blocks": 1,
    "heads": 2,
    "window": 4,
    "alignment_heads": 2,
    "offset_groups": 4,
}


def filled(model):
    """Gives a model weights that depend on no random generator, and flows of a pixel or two."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 1.7 + number)
            gain = 0.3 if name.startswith("spynet") else 1.2
            parameter.copy_((gain * wave / parameter[0].numel() ** 0.5).view_as(parameter))
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and name.endswith(
                ("norm1.weight", "norm2.weight", "3.weight", "7.weight")
            ):
                parameter.add_(1.0)
    return model.eval()


@pytest.fixture(scope="module")
def tiny():
    return filled(build_model("rvrt", 4, TINY))


def test_names_and_shapes_are_those_of_the_published_weights():
    model = build_model("rvrt", 4)
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert len(lines) == 504
    assert digest == "9b4b030026d79608149286f2de342e635f2487079f243d70e14d1860320cf05c"
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == model_info("rvrt").parameters == 10_782_295


# The published implementation was run once beside ours, outside this repository: with these weights and
# inputs it gives these numbers too.
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((40, 64), [0.502926, 1.07706, -1.082557, 0.212998, 1.943546]),
        ((34, 45), [0.502923, 1.063709, -1.161146, 0.299609, 1.373779]),
    ],
)
def test_outputs_for_known_weights(tiny, size, expected):
    with torch.inference_mode():
        y = tiny(video(1, 6, 3, *size))
    found = [
        y.mean().item(),
        y.std().item(),
        y[0, 0, 0, 5, 7].item(),
        y[0, 1, 1, 40, 60].item(),
        y[0, 5, 2, -1, -1].item(),
    ]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_published_size_on_the_smallest_input():
    model = build_model("rvrt", 4).eval()
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


def test_the_last_of_an_odd_number_of_frames_counts_twice(tiny):
    x = video(1, 3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x), tiny(torch.cat((x, x[:, 2:]), 1))[:, :3], atol=1e-5, rtol=1e-5)


def test_frames_smaller_than_a_window_are_continued_by_their_mirror_image(tiny):
    x = video(1, 2, 3, 2, 4)
    with torch.inference_mode():
        larger = tiny(torch.cat((x, x.flip(3)), 3))
        torch.testing.assert_close(tiny(x), larger[..., :8, :], atol=1e-5, rtol=1e-5)


def test_all_weights_receive_a_gradient(tiny):
    tiny(video(1, 4, 3, 16, 12)).square().mean().backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    tiny.zero_grad()


def test_weights_survive_a_file(tiny, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(serialize(state_of(tiny)))
    other = build_model("rvrt", 4, TINY)
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
    [
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
    ],
)
def test_illegal_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        build_model("rvrt", 4, options)


def test_other_scales():
    with pytest.raises(ConfigError, match=r"data\.scale"):
        build_model("rvrt", 2)
