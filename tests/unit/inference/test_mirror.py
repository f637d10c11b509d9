import torch
from torch import nn

from fedvsr.inference.mirror import MirroredClip
from fedvsr.models.base import contexts


class RunningSum(nn.Module):
    """A frame's output is the sum of all frames up to it."""

    temporal_context = None
    spatial_context = 3

    def forward(self, x):
        return x.cumsum(1)


def test_it_averages_the_clip_and_its_mirror_image():
    x = torch.arange(1.0, 4).reshape(1, 3, 1, 1, 1).expand(1, 3, 3, 2, 2)
    # 1 2 3 3 2 1 sums up to 1 3 6 9 11 12; the frames' second outputs are 12 11 9.
    expected = torch.tensor([6.5, 7, 7.5])
    assert torch.equal(MirroredClip(RunningSum())(x)[0, :, 0, 0, 0], expected)


def test_the_output_of_a_model_of_single_frames_does_not_change():
    class Double(nn.Module):
        def forward(self, x):
            return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    x = torch.rand(1, 5, 3, 4, 6)
    assert torch.equal(MirroredClip(Double())(x), Double()(x))


def test_it_has_the_contexts_of_its_model():
    assert contexts(MirroredClip(RunningSum())) == contexts(RunningSum())
