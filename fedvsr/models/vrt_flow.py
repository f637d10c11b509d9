"""The optical flows of VRT: at four scales, and between frames up to three apart.

Liang et al., "VRT: A Video Restoration Transformer", 2022. A flow from one frame to another has
the position in the other of each of its pixels, relative to the pixel.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

SCALES = 4
"""Flows at full size and three times halved."""


class PyramidSPyNet(SPyNet):
    """SPyNet that also returns its estimates at the coarser scales."""

    def flows(self, reference: Tensor, support: Tensor) -> list[Tensor]:
        """Returns the position in ``support`` of each pixel of ``reference``, relative to it, at four scales.

        Args:
            reference: (N, 3, h, w) in [0, 1], h and w multiples of 8.
            support: Of the same shape.

        Returns:
            (N, 2, h, w), (N, 2, h/2, w/2), (N, 2, h/4, w/4) and (N, 2, h/8, w/8), each in its own
            pixels: channel 0 points right, channel 1 down.
        """
        h, w = reference.shape[-2:]
        multiple = 2 ** (len(self.basic_module) - 1)
        padded = [-(-side // multiple) * multiple for side in (h, w)]
        references = self._pyramid(_resize(reference, padded[0], padded[1]))
        supports = self._pyramid(_resize(support, padded[0], padded[1]))
        flow = torch.zeros_like(references[0][:, :2])
        flows = []
        for level, network in enumerate(self.basic_module):
            if level:
                flow = 2 * functional.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            moved = warp(supports[level], flow, "border")
            flow = flow + network(torch.cat((references[level], moved, flow), 1))
            halvings = len(self.basic_module) - 1 - level
            if halvings < SCALES:
                shrunk = flow.new_tensor((w / padded[1], h / padded[0])).view(1, 2, 1, 1)
                flows.append(_resize(flow, h >> halvings, w >> halvings) * shrunk)
        return flows[::-1]


def video_flows(network: PyramidSPyNet, x: Tensor, reach: int) -> tuple[list[list[Tensor]], ...]:
    """Returns the flows to the frames ahead and to the frames behind.

    Args:
        network: Estimates the flows between neighbours.
        x: (N, T, 3, h, w) in [0, 1], T ≥ 2, h and w multiples of 8.
        reach: How many frames apart, 1 to 3.

    Returns:
        For each direction, for each of the four scales, for each distance d from 1 to the reach,
        (N, T − d, 2, h/s, w/s): the flows from frame t to frame t + d; and those from frame t + d to
        frame t. There are none where d ≥ T.
    """
    N, T = x.shape[:2]
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    ahead = [flow.view(N, T - 1, *flow.shape[1:]) for flow in network.flows(earlier, later)]
    behind = [flow.view(N, T - 1, *flow.shape[1:]) for flow in network.flows(later, earlier)]
    return (
        [_longer(flow, reach) for flow in ahead],
        [[longer.flip(1) for longer in _longer(flow.flip(1), reach)] for flow in behind],
    )


def _longer(flow: Tensor, reach: int) -> list[Tensor]:
    """Chains flows: from t to t + d − 1, and from there to t + d."""
    flows = [flow]
    for distance in range(2, reach + 1):
        count = max(flow.shape[1] + 1 - distance, 0)
        first, onward = flows[-1][:, :count], flow[:, distance - 1 :]
        moved = warp(onward.flatten(0, 1), first.flatten(0, 1)) if count else onward.flatten(0, 1)
        flows.append(first + moved.view(first.shape))
    return flows


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(x, (height, width), mode="bilinear", align_corners=False)
