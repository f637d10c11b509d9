"""SPyNet: optical flow by a pyramid of small networks.

Ranjan and Black, "Optical Flow Estimation Using a Spatial Pyramid Network", CVPR 2017,
https://arxiv.org/abs/1611.00850, with six levels as in BasicVSR. Modules are named so that the published
weights load.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.warp import warp

_LEVELS = 6
_MULTIPLE = 2 ** (_LEVELS - 1)
"""The pyramid halves height and width five times, so both must be multiples of this."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class SPyNet(nn.Module):
    """Estimates the optical flow between two frames, from the coarsest pyramid level to the finest."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(_Level() for _ in range(_LEVELS))
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, reference: Tensor, support: Tensor) -> Tensor:
        """Returns the flow from ``reference`` to ``support``: the displacement of each pixel.

        Frames whose sides are not multiples of 32 are resized to the next multiples for the estimate.

        Args:
            reference: (N, 3, h, w) in [0, 1].
            support: Of the same shape.

        Returns:
            (N, 2, h, w), in pixels: channel 0 points right, channel 1 down.
        """
        h, w = reference.shape[-2:]
        height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in (h, w))
        flow = self._flow(_resize(reference, height, width), _resize(support, height, width))
        return _resize(flow, h, w) * flow.new_tensor((w / width, h / height)).view(1, 2, 1, 1)

    def _flow(self, reference: Tensor, support: Tensor) -> Tensor:
        references = self._pyramid(reference)
        supports = self._pyramid(support)
        N, _, height, width = references[0].shape
        flow = reference.new_zeros(N, 2, height, width)
        for level, network in enumerate(self.basic_module):
            if level:
                flow = 2 * functional.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            warped = warp(supports[level], flow, "border")
            flow = flow + network(torch.cat((references[level], warped, flow), 1))
        return flow

    def _pyramid(self, frames: Tensor) -> list[Tensor]:
        """Returns the normalised frames at every level, the coarsest first."""
        levels = [(frames - self.mean) / self.std]
        while len(levels) < _LEVELS:
            levels.insert(0, functional.avg_pool2d(levels[0], 2))
        return levels


class _Level(nn.Module):
    """Corrects the flow at one level, from two frames (3 + 3 channels) and the flow so far (2 channels)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 32, 64, 32, 16, 2)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        correction: Tensor = self.basic_module(x)
        return correction


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(x, (height, width), mode="bilinear", align_corners=False)
