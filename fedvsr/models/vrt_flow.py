"""The optical flows of VRT: at four resolutions, and between frames up to three apart.

Source: Liang et al., "VRT: A Video Restoration Transformer", 2022, https://arxiv.org/abs/2201.12288. The flow
from frame a to frame b gives, for each pixel of a, its position in b relative to the pixel.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

RESOLUTIONS = 4
"""Number of resolutions with flows: full size, and three halvings."""


class PyramidSPyNet(SPyNet):
    """SPyNet that also returns its estimates at the coarser resolutions."""

    def flows(self, reference: Tensor, support: Tensor) -> list[Tensor]:
        """Returns the flow from ``reference`` to ``support`` at four resolutions.

        Args:
            reference: (N, 3, h, w) in [0, 1], h and w multiples of 8.
            support: Of the same shape.

        Returns:
            (N, 2, h, w), (N, 2, h/2, w/2), (N, 2, h/4, w/4) and (N, 2, h/8, w/8), in pixels of
            that resolution: channel 0 points right, channel 1 down.
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
            warped = warp(supports[level], flow, "border")
            flow = flow + network(torch.cat((references[level], warped, flow), 1))
            halvings = len(self.basic_module) - 1 - level
            if halvings < RESOLUTIONS:
                unpadded_share = flow.new_tensor((w / padded[1], h / padded[0])).view(1, 2, 1, 1)
                flows.append(_resize(flow, h >> halvings, w >> halvings) * unpadded_share)
        return flows[::-1]


def video_flows(network: PyramidSPyNet, x: Tensor, reach: int) -> tuple[list[list[Tensor]], ...]:
    """Returns the flows to the frames ahead and to the frames behind.

    Args:
        network: Estimates the flows between neighbouring frames.
        x: (N, T, 3, h, w) in [0, 1], T ≥ 2, h and w multiples of 8.
        reach: Largest distance between two frames, 1 to 3.

    Returns:
        The flows ahead, from frame t to frame t + d, and the flows behind, from frame t + d to frame t. Each
        is a list over the four resolutions of lists over the distances d from 1 to the reach:
        (N, T − d, 2, h/s, w/s), if the resolution is 1/s of the full size; empty tensors if d ≥ T.
    """
    N, T = x.shape[:2]
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    ahead = [flow.view(N, T - 1, *flow.shape[1:]) for flow in network.flows(earlier, later)]
    behind = [flow.view(N, T - 1, *flow.shape[1:]) for flow in network.flows(later, earlier)]
    return (
        [_chain_flows(flow, reach) for flow in ahead],
        [[chained.flip(1) for chained in _chain_flows(flow.flip(1), reach)] for flow in behind],
    )


def _chain_flows(flow: Tensor, reach: int) -> list[Tensor]:
    """Returns the flows over each distance d: from t to t + d − 1, chained with that from there to t + d."""
    flows = [flow]
    for distance in range(2, reach + 1):
        count = max(flow.shape[1] + 1 - distance, 0)
        first, onward = flows[-1][:, :count], flow[:, distance - 1 :]
        warped = warp(onward.flatten(0, 1), first.flatten(0, 1)) if count else onward.flatten(0, 1)
        flows.append(first + warped.view(first.shape))
    return flows


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(x, (height, width), mode="bilinear", align_corners=False)
