"""Properties of BasicVSR, its optical flow and its warping."""

import torch

from fedvsr.models import build_model
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import video


def test_reversing_time_mirrors_the_output_once_the_two_directions_are_alike():
    torch.manual_seed(0)
    model = build_model("basicvsr", 4, TINY["basicvsr"]).eval()
    model.backward_trunk.load_state_dict(model.forward_trunk.state_dict())
    weight = model.fusion.weight.data
    weight[:, 4:] = weight[:, :4]
    x = video(1, 4, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(x.flip(1)), model(x).flip(1), atol=1e-5, rtol=1e-5)
        # A video whose second half is the first half backwards.
        y = model(torch.cat((x, x.flip(1)), 1))
        torch.testing.assert_close(y, y.flip(1), atol=1e-5, rtol=1e-5)


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
    # Sides that are not multiples of 32 are resized for the estimate: (24, 48) to (32, 64).
    torch.manual_seed(0)
    network = SPyNet()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.basic_module[5].basic_module[8].bias.copy_(torch.tensor([8.0, 4.0]))
        flow = network(torch.rand(1, 3, 24, 48), torch.rand(1, 3, 24, 48))
    torch.testing.assert_close(flow[:, 0], torch.full((1, 24, 48), 6.0))
    torch.testing.assert_close(flow[:, 1], torch.full((1, 24, 48), 3.0))
