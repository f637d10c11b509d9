"""BasicVSR++: four passes over the video, with second-order alignment by deformable convolutions.

Chan et al., "BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and Alignment",
CVPR 2022, https://arxiv.org/abs/2104.13371. Modules are named so that the published weights load.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import Section
from fedvsr.models.base import check_scale
from fedvsr.models.deform_conv import deform_conv2d
from fedvsr.models.feature_cache import FeatureCache
from fedvsr.models.neighbour_flows import neighbour_flows
from fedvsr.models.residual import ResidualTrunk
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

_OUTPUT_CHANNELS = 64
_NEGATIVE_SLOPE = 0.1
_OUTER_BLOCKS = 5
"""Number of residual blocks before the four passes, and again after them."""

_TAPS = 9
_OFFSET_GROUPS = 16
_PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")


class BasicVSRPlusPlusOptions(Section):
    """The options of BasicVSR++."""

    channels: int = Field(64, ge=8, le=512, multiple_of=_OFFSET_GROUPS // 2, description="feature channels")
    blocks: int = Field(7, ge=1, le=100, description="residual blocks per pass")
    maximum_residue: int = Field(
        10, ge=1, le=100, description="how many pixels an offset may differ from the optical flow"
    )


class BasicVSRPlusPlus(nn.Module):
    """Propagates features backward, forward, backward and forward through the video.

    Every pass gets the results of the previous passes. A deformable convolution aligns the features of the
    two previous frames of the pass to the current frame. Its offsets are the optical flow plus a learned
    residue of a few pixels. Every output frame depends on all input frames. Reversing the video does not just
    reverse the output, because the passes depend on each other.

    Frames of any size and videos of any length are valid; with one frame, nothing is aligned. The published
    code has a special case for a video that is continued by its mirror image; here it is treated like any
    other video. Upscales by 4 only: the architecture ends in two upscalings by 2.

    Args:
        scale: 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 4.
    """

    description = "four passes with deformable alignment"
    source = (
        "Chan et al., BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and Alignment, "
        "CVPR 2022, https://arxiv.org/abs/2104.13371"
    )
    parameter_count = 7_322_927
    Options = BasicVSRPlusPlusOptions

    temporal_context = None
    spatial_context = 32
    features_on_cpu = False

    def __init__(self, scale: int, options: BasicVSRPlusPlusOptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (4,), "basicvsr++")
        options = options or BasicVSRPlusPlusOptions()
        channels, blocks = options.channels, options.blocks
        self.channels = channels
        self.spynet = SPyNet()
        self.feat_extract = ResidualTrunk(3, channels, _OUTER_BLOCKS)
        self.deform_align = nn.ModuleDict()
        self.backbone = nn.ModuleDict()
        for number, name in enumerate(_PASSES):
            self.deform_align[name] = _SecondOrderAlignment(channels, options.maximum_residue)
            self.backbone[name] = ResidualTrunk((2 + number) * channels, channels, blocks)
        self.reconstruction = ResidualTrunk(5 * channels, channels, _OUTER_BLOCKS)
        self.upconv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.upconv2 = nn.Conv2d(channels, 4 * _OUTPUT_CHANNELS, 3, padding=1)
        self.conv_hr = nn.Conv2d(_OUTPUT_CHANNELS, _OUTPUT_CHANNELS, 3, padding=1)
        self.conv_last = nn.Conv2d(_OUTPUT_CHANNELS, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        to_next, to_previous = neighbour_flows(self.spynet, x, on_cpu=self.features_on_cpu)
        frames = x.unbind(1)
        # The extracted features, then those of each pass: (N, C, h, w) per frame.
        features = [FeatureCache(map(self.feat_extract, frames), on_cpu=self.features_on_cpu)]
        for name in _PASSES:
            if name.startswith("backward"):
                backwards = [cache[::-1] for cache in features]
                features.append(self._propagate(name, backwards, to_next[::-1])[::-1])
            else:
                features.append(self._propagate(name, features, to_previous))
        outputs = FeatureCache(on_cpu=self.features_on_cpu)
        for frame, *frame_features in zip(frames, *features, strict=True):
            outputs.append(self._reconstruct(frame, frame_features).unsqueeze(1))
        return outputs.joined()

    def _propagate(self, name: str, features: list[FeatureCache], flows: FeatureCache) -> FeatureCache:
        """Runs one pass.

        Args:
            name: The pass's name.
            features: The extracted features and those of the previous passes, in the pass's order;
                (N, C, h, w) per frame.
            flows: ``flows[i]``, (N, 2, h, w), leads from frame i + 1 to frame i, counted in the pass's order.

        Returns:
            The pass's features (N, C, h, w) of every frame, in the pass's order.
        """
        align, trunk = self.deform_align[name], self.backbone[name]
        zeros = torch.zeros_like(features[0][0])
        no_flow = zeros.new_zeros(zeros.shape[0], 2, *zeros.shape[2:])
        pass_features = FeatureCache(on_cpu=self.features_on_cpu)
        # The pass's features of the last frame and of the one before it, and the flow between the two.
        near, far, older_flow = zeros, zeros, no_flow
        for i, known in enumerate(zip(*features, strict=True)):
            aligned = zeros
            if i:
                near_flow = flows[i - 1]
                far_flow, far_warped = no_flow, zeros
                if i > 1:
                    far_flow = near_flow + warp(older_flow, near_flow)
                    far_warped = warp(far, far_flow)
                condition = torch.cat((warp(near, near_flow), known[0], far_warped), 1)
                aligned = align(torch.cat((near, far), 1), condition, near_flow, far_flow)
                older_flow = near_flow
            near, far = aligned + trunk(torch.cat((*known, aligned), 1)), near
            pass_features.append(near)
        return pass_features

    def _reconstruct(self, frame: Tensor, features: list[Tensor]) -> Tensor:
        """Maps a frame (N, 3, h, w) and its five features (N, C, h, w) to (N, 3, 4·h, 4·w)."""
        hidden = self.reconstruction(torch.cat(features, 1))
        hidden = _activate(functional.pixel_shuffle(self.upconv1(hidden), 2))
        hidden = _activate(functional.pixel_shuffle(self.upconv2(hidden), 2))
        residual: Tensor = self.conv_last(_activate(self.conv_hr(hidden)))
        return residual + functional.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False)


class _SecondOrderAlignment(nn.Module):
    """Aligns the features of two frames to a third one by one deformable 3 × 3 convolution.

    The first half of the offset groups reads the nearer frame, the second half the farther one.
    """

    def __init__(self, channels: int, maximum_residue: int) -> None:
        super().__init__()
        self.maximum_residue = maximum_residue
        self.weight = nn.Parameter(torch.empty(channels, 2 * channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        bound = (2 * channels * _TAPS) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        last = nn.Conv2d(channels, 3 * _TAPS * _OFFSET_GROUPS, 3, padding=1)
        # Zero at first: the offsets are the optical flow.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.conv_offset = nn.Sequential(
            nn.Conv2d(3 * channels + 4, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            last,
        )

    def forward(self, x: Tensor, condition: Tensor, near_flow: Tensor, far_flow: Tensor) -> Tensor:
        """Aligns two frames' features to a third frame.

        Args:
            x: (N, 2·C, h, w): the two frames' features, the nearer frame first.
            condition: (N, 3·C, h, w): the features from which the offsets are predicted.
            near_flow: (N, 2, h, w) in pixels, from the third frame to the nearer one.
            far_flow: Of the same shape, from the third frame to the farther one.

        Returns:
            (N, C, h, w).
        """
        raw = self.conv_offset(torch.cat((condition, near_flow, far_flow), 1))
        near, far, mask = raw.chunk(3, 1)
        # The flow's channels are (right, down), those of the offsets (down, right) for every tap of every
        # group.
        pairs = _TAPS * _OFFSET_GROUPS // 2
        near = self.maximum_residue * torch.tanh(near) + near_flow.flip(1).repeat(1, pairs, 1, 1)
        far = self.maximum_residue * torch.tanh(far) + far_flow.flip(1).repeat(1, pairs, 1, 1)
        offset = torch.cat((near, far), 1)
        return deform_conv2d(x, offset, torch.sigmoid(mask), self.weight, self.bias)


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _NEGATIVE_SLOPE)
