import hashlib

import pytest
import torch

from fedvsr.models import build_model
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp
from tests.unit.models.waves import video

TINY = {"channels": 4, "blocks": 1}


def filled(model):
    """Gives a model weights that depend on no random generator, and flows of a pixel or two."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 1.7 + number)
            gain = 0.3 if name.startswith("spynet") else 1.6
            parameter.copy_((gain * wave / parameter[0].numel() ** 0.5).view_as(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return filled(build_model("basicvsr", 4, TINY))


def test_names_and_shapes_are_those_of_the_published_weights():
    model = build_model("basicvsr", 4)
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert len(lines) == 316
    assert digest == "6c84d44e791083a159463886a769cfb19c6d855817572eba2495c65399438280"
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_291_311


# The published implementation was run once beside ours, outside this repository: with these weights and
# inputs it gives these numbers too.
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), [0.832431, 0.993722, -0.733162, 1.983683, 0.502079]),
        ((45, 70), [0.832507, 1.005907, 0.040928, 1.918525, 1.300734]),
    ],
)
def test_outputs_for_known_weights(tiny, size, expected):
    with torch.inference_mode():
        y = tiny(video(1, 3, 3, *size))
    found = [
        y.mean().item(),
        y.std().item(),
        y[0, 0, 0, 5, 7].item(),
        y[0, 1, 1, 40, 60].item(),
        y[0, 2, 2, -1, -1].item(),
    ]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1, 9, 7), (2, 2, 16, 16), (1, 4, 33, 40)])
def test_shapes(tiny, size):
    N, T, h, w = size
    with torch.inference_mode():
        assert tiny(torch.rand(N, T, 3, h, w)).shape == (N, T, 3, 4 * h, 4 * w)


def test_every_frame_depends_on_every_other(tiny):
    x = video(1, 4, 3, 16, 16).requires_grad_()
    for t in (0, 3):
        (gradient,) = torch.autograd.grad(tiny(x)[0, t].sum(), x)
        assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()


def test_videos_of_a_batch_do_not_mix(tiny):
    x = video(2, 2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x)[1:], tiny(x[1:]), atol=1e-5, rtol=1e-5)


def test_reversing_time_mirrors_the_output_once_the_two_directions_are_alike():
    torch.manual_seed(0)
    model = build_model("basicvsr", 4, TINY).eval()
    model.backward_trunk.load_state_dict(model.forward_trunk.state_dict())
    weight = model.fusion.weight.data
    weight[:, 4:] = weight[:, :4]
    x = video(1, 4, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(x.flip(1)), model(x).flip(1), atol=1e-5, rtol=1e-5)


def test_all_weights_receive_a_gradient(tiny):
    tiny(video(1, 3, 3, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in tiny.parameters())
    tiny.zero_grad()


def test_bfloat16_under_autocast(tiny):
    x = video(1, 2, 3, 16, 16)
    with torch.inference_mode():
        exact = tiny(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(x)
    assert (rough - exact).abs().mean() < 0.05 * exact.std()


def test_warping_by_whole_pixels_moves_them():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4)
    torch.testing.assert_close(warp(x, flow), x, atol=1e-5, rtol=0)
    flow[:, 0], flow[:, 1] = 1, -1
    zeros = warp(x, flow)[0, 0]
    torch.testing.assert_close(zeros[1:, :-1], x[0, 0, :-1, 1:], atol=1e-5, rtol=0)
    assert zeros[0].abs().max() < 1e-5
    assert zeros[:, -1].abs().max() < 1e-5
    border = warp(x, flow, "border")[0, 0]
    torch.testing.assert_close(border[0, :3], x[0, 0, 0, 1:], atol=1e-5, rtol=0)


def test_warping_between_pixels_interpolates():
    x = torch.tensor([[0.0, 10.0, 20.0]]).view(1, 1, 1, 3)
    flow = torch.zeros(1, 2, 1, 3)
    flow[:, 0] = 0.25
    torch.testing.assert_close(warp(x, flow)[0, 0, 0], torch.tensor([2.5, 12.5, 15.0]))


def test_flow_is_counted_in_the_frames_own_pixels():
    # Sides that are no multiples of 32 are resized for the estimate: (24, 48) to (32, 64).
    torch.manual_seed(0)
    network = SPyNet()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.basic_module[5].basic_module[8].bias.copy_(torch.tensor([8.0, 4.0]))
        flow = network(torch.rand(1, 3, 24, 48), torch.rand(1, 3, 24, 48))
    torch.testing.assert_close(flow[:, 0], torch.full((1, 24, 48), 6.0))
    torch.testing.assert_close(flow[:, 1], torch.full((1, 24, 48), 3.0))
