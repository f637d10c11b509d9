"""The alignment of VRT: a deformable convolution that reads the neighbours' features along the optical flow.

Source: Liang et al., "VRT: A Video Restoration Transformer", 2022, https://arxiv.org/abs/2201.12288; the
alignment follows Chan et al., "BasicVSR++", CVPR 2022, https://arxiv.org/abs/2104.13371. All frames of a
video are aligned at once. Modules are named so that the published weights load.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.deform_conv import deform_conv2d
from fedvsr.models.warp import warp

_NEGATIVE_SLOPE = 0.1
_TAPS = 3 * 3


class FlowGuidedDeformConv(nn.Module):
    """Aligns the features of K neighbours to a frame by a 3 × 3 deformable convolution.

    A small network predicts each tap's offset and weight from three inputs: the warped neighbours, the frame,
    and the flows. The flow is added to the offsets. Each neighbour produces an equal part of the output
    channels.

    Args:
        channels: Number of channels of the features, C; divisible by ``neighbours``.
        neighbours: Number of neighbours that are aligned together, K.
        groups: Number of deformable groups of all neighbours together, divisible by ``neighbours``. The
            channels of a group share their offsets.
        maximum_residue: Largest predicted offset of a tap, in pixels, per axis.
    """

    def __init__(self, channels: int, neighbours: int, groups: int, maximum_residue: float) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.maximum_residue = maximum_residue
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Sequential(
            nn.Conv2d((1 + neighbours) * channels + 2 * neighbours, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            # For each tap: a row offset, a column offset, and a weight.
            nn.Conv2d(channels, 3 * _TAPS * groups, 3, padding=1),
        )
        bound = (channels * _TAPS) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        # Zero at first: no offset, and every tap has the weight sigmoid(0) = 0.5.
        nn.init.zeros_(self.conv_offset[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv_offset[-1].bias)  # type: ignore[arg-type]

    def forward(self, neighbours: list[Tensor], frame: Tensor, flows: list[Tensor]) -> Tensor:
        """Aligns K neighbours to a frame.

        Args:
            neighbours: The neighbours' features, K tensors (N, C, H, W).
            frame: The frame's features, (N, C, H, W).
            flows: From the frame to each neighbour, K tensors (N, 2, H, W), in pixels.

        Returns:
            (N, C, H, W).
        """
        warped = [warp(neighbour, flow) for neighbour, flow in zip(neighbours, flows, strict=True)]
        predicted = self.conv_offset(torch.cat((*warped, frame, *flows), 1))
        weight_channels = predicted.shape[1] // 3
        raw_offsets, raw_weights = predicted.split((2 * weight_channels, weight_channels), 1)
        offsets = (self.maximum_residue * torch.tanh(raw_offsets)).chunk(self.neighbours, 1)
        tap_weights = torch.sigmoid(raw_weights).chunk(self.neighbours, 1)
        kernels, biases = self.weight.chunk(self.neighbours), self.bias.chunk(self.neighbours)
        aligned = []
        for i, neighbour in enumerate(neighbours):
            # The flow's channels are (right, down), those of the offsets (down, right).
            flow_offset = flows[i].flip(1).repeat(1, offsets[i].shape[1] // 2, 1, 1)
            offset = offsets[i] + flow_offset
            aligned.append(deform_conv2d(neighbour, offset, tap_weights[i], kernels[i], biases[i]))
        return torch.cat(aligned, 1)


def align_ahead(align: FlowGuidedDeformConv, x: Tensor, flows: list[Tensor]) -> Tensor:
    """Aligns to each frame the K frames after it.

    Args:
        align: Aligns K neighbours to a frame.
        x: Features (N, T, C, H, W), T ≥ 2.
        flows: For each distance d from 1 to K, (N, T − d, 2, H, W) from frame t to frame t + d.

    Returns:
        (N, T, C, H, W), zeros for the last frame. Beyond the video's end, features and flows count as zeros.
    """
    N, T = x.shape[:2]
    neighbours = [_pad_frames(x[:, d + 1 :], T - 1).flatten(0, 1) for d in range(len(flows))]
    padded_flows = [_pad_frames(flow, T - 1).flatten(0, 1) for flow in flows]
    aligned = align(neighbours, x[:, :-1].flatten(0, 1), padded_flows)
    return _pad_frames(aligned.view(N, T - 1, *aligned.shape[1:]), T)


def align_behind(align: FlowGuidedDeformConv, x: Tensor, flows: list[Tensor]) -> Tensor:
    """Aligns to each frame the K frames before it: `align_ahead` with time reversed.

    Args:
        align: Aligns K neighbours to a frame.
        x: Features (N, T, C, H, W), T ≥ 2.
        flows: For each distance d from 1 to K, (N, T − d, 2, H, W) from frame t + d to frame t.

    Returns:
        (N, T, C, H, W), zeros for the first frame.
    """
    return align_ahead(align, x.flip(1), [flow.flip(1) for flow in flows]).flip(1)


def _pad_frames(x: Tensor, count: int) -> Tensor:
    """Appends zero frames to (N, T, C, H, W) until there are ``count`` frames."""
    if x.shape[1] == count:
        return x
    return functional.pad(x, (0, 0, 0, 0, 0, 0, 0, count - x.shape[1]))
