"""BasicVSR: recurrent in both directions, aligned by optical flow.

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond",
CVPR 2021, https://arxiv.org/abs/2012.02181. Modules are named so that the published weights load.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import Section
from fedvsr.models.base import check_scale
from fedvsr.models.feature_cache import FeatureCache
from fedvsr.models.neighbour_flows import neighbour_flows
from fedvsr.models.residual import ResidualTrunk
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

_OUTPUT_CHANNELS = 64
_NEGATIVE_SLOPE = 0.1


class BasicVSROptions(Section):
    """The options of BasicVSR."""

    channels: int = Field(64, ge=1, le=512, description="feature channels")
    blocks: int = Field(30, ge=1, le=100, description="residual blocks per direction")


class BasicVSR(nn.Module):
    """Propagates features along the optical flow, from the last frame to the first and back.

    Every output frame depends on all input frames. Upscales by 4 only: the architecture ends in two
    upscalings by 2.

    Args:
        scale: 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 4.
    """

    description = "bidirectional recurrent network"
    source = (
        "Chan et al., BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond, "
        "CVPR 2021, https://arxiv.org/abs/2012.02181"
    )
    parameter_count = 6_291_311
    Options = BasicVSROptions

    temporal_context = None
    spatial_context = 32
    features_on_cpu = False

    def __init__(self, scale: int, options: BasicVSROptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (4,), "basicvsr")
        options = options or BasicVSROptions()
        channels, blocks = options.channels, options.blocks
        self.channels = channels
        self.spynet = SPyNet()
        self.backward_trunk = ResidualTrunk(3 + channels, channels, blocks)
        self.forward_trunk = ResidualTrunk(3 + channels, channels, blocks)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)
        self.upconv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.upconv2 = nn.Conv2d(channels, 4 * _OUTPUT_CHANNELS, 3, padding=1)
        self.conv_hr = nn.Conv2d(_OUTPUT_CHANNELS, _OUTPUT_CHANNELS, 3, padding=1)
        self.conv_last = nn.Conv2d(_OUTPUT_CHANNELS, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        frames = x.unbind(1)
        to_next, to_previous = neighbour_flows(self.spynet, x, on_cpu=self.features_on_cpu)
        backward = self._propagate(self.backward_trunk, frames[::-1], to_next[::-1])[::-1]
        forward = self._propagate(self.forward_trunk, frames, to_previous)
        outputs = FeatureCache(on_cpu=self.features_on_cpu)
        for frame, backward_features, forward_features in zip(frames, backward, forward, strict=True):
            outputs.append(self._reconstruct(frame, backward_features, forward_features).unsqueeze(1))
        return outputs.joined()

    def _propagate(self, trunk: nn.Module, frames: tuple[Tensor, ...], flows: FeatureCache) -> FeatureCache:
        """Runs one direction; ``flows[i]`` leads from frame i + 1 to frame i, counted in that direction."""
        N, _, h, w = frames[0].shape
        previous = trunk(torch.cat((frames[0], frames[0].new_zeros(N, self.channels, h, w)), 1))
        features = FeatureCache((previous,), on_cpu=self.features_on_cpu)
        for frame, flow in zip(frames[1:], flows, strict=True):
            previous = trunk(torch.cat((frame, warp(previous, flow)), 1))
            features.append(previous)
        return features

    def _reconstruct(self, frame: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        features = _activate(self.fusion(torch.cat((backward, forward), 1)))
        features = _activate(functional.pixel_shuffle(self.upconv1(features), 2))
        features = _activate(functional.pixel_shuffle(self.upconv2(features), 2))
        residual: Tensor = self.conv_last(_activate(self.conv_hr(features)))
        return residual + functional.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False)


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _NEGATIVE_SLOPE)
