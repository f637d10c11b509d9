"""RVRT: recurrent over pairs of frames, with transformers and guided deformable attention.

Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention", NeurIPS 2022,
https://arxiv.org/abs/2206.02146, as released for ×4 super-resolution. Modules are named so that the published
weights load. The paper calls a pair of frames a clip.
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import FieldError, Section
from fedvsr.models.base import check_scale
from fedvsr.models.feature_cache import FeatureCache
from fedvsr.models.frame_conv import FrameConv
from fedvsr.models.guided_deformable_attention import PAIR, GuidedDeformableAttention
from fedvsr.models.mirror import mirror_to
from fedvsr.models.neighbour_flows import neighbour_flows
from fedvsr.models.rvrt_blocks import TransformerTrunk
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

_OUTPUT_CHANNELS = 64
_NEGATIVE_SLOPE = 0.1
_OUTER_BLOCKS = 1
"""Residual groups before the four passes, and after them."""

_PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")


class RVRTOptions(Section):
    """The options of RVRT."""

    channels: int = Field(144, ge=1, le=512, description="feature channels")
    blocks: int = Field(2, ge=1, le=100, description="residual groups of transformer layers per pass")
    depth: int = Field(
        2, ge=1, le=100, description="transformer layers of a group; every other one has its windows shifted"
    )
    heads: int = Field(6, ge=1, description="heads of the attention in windows, a divisor of the channels")
    window: int = Field(8, ge=2, le=64, description="rows and columns of a window")
    alignment_heads: int = Field(
        12, ge=1, description="heads of the deformable attention, a divisor of twice the channels"
    )
    offset_groups: int = Field(
        12,
        ge=1,
        multiple_of=2,
        description="groups of channels that the deformable attention moves together, an even divisor of "
        "four times the channels",
    )
    maximum_residue: int = Field(
        10, ge=1, le=100, description="how many pixels an offset may differ from the optical flow"
    )

    @model_validator(mode="after")
    def _channels_divide(self) -> Self:
        for option, multiple in (("heads", 1), ("alignment_heads", 2), ("offset_groups", 4)):
            value, whole = getattr(self, option), multiple * self.channels
            if whole % value:
                raise FieldError(option, value, f"it must be a divisor of {whole}")
        return self


class RVRT(nn.Module):
    """Propagates features of two frames at a time backward, forward, backward and forward through the video.

    Every pass gets the results of the previous passes. Within a frame pair, transformer layers let the pixels
    of both frames attend to each other. Between frame pairs, guided deformable attention aligns the features,
    and the last two passes start from the flows that the first two improved. Every output frame depends on
    all input frames. Reversing the video does not just reverse the output, because the passes depend on each
    other.

    Frames of any size and videos of any length are valid. If the number of frames is odd, the last one is
    repeated. A side shorter than a window is extended by its mirror image. The surplus is cut from the
    output. Upscales by 4 only: the architecture ends in two upscalings by 2.

    Args:
        scale: 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 4.
    """

    description = "recurrent transformer over pairs of frames"
    source = (
        "Liang et al., Recurrent Video Restoration Transformer with Guided Deformable Attention, "
        "NeurIPS 2022, https://arxiv.org/abs/2206.02146"
    )
    parameter_count = 10_782_295
    Options = RVRTOptions

    temporal_context = None
    spatial_context = 32
    features_on_cpu = False

    def __init__(self, scale: int, options: RVRTOptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (4,), "rvrt")
        options = options or RVRTOptions()
        channels, depth, heads, window = options.channels, options.depth, options.heads, options.window
        self.window = window

        def trunk(inputs: int, blocks: int, frames: int) -> TransformerTrunk:
            return TransformerTrunk(inputs, channels, blocks, depth, heads, (frames, window, window))

        self.spynet = SPyNet()
        self.feat_extract = trunk(3, _OUTER_BLOCKS, 1)
        self.backbone = nn.ModuleDict()
        self.deform_align = nn.ModuleDict()
        for number, name in enumerate(_PASSES):
            self.deform_align[name] = GuidedDeformableAttention(
                channels, options.alignment_heads, options.offset_groups, options.maximum_residue
            )
            self.backbone[name] = trunk((2 + number) * channels, options.blocks, PAIR)
        self.reconstruction = trunk(5 * channels, _OUTER_BLOCKS, 1)
        self.conv_before_upsampler = nn.Sequential(
            FrameConv(channels, _OUTPUT_CHANNELS, 1), nn.LeakyReLU(_NEGATIVE_SLOPE)
        )
        self.upsampler = nn.Sequential(
            *_doubling_layers(), *_doubling_layers(), FrameConv(_OUTPUT_CHANNELS, _OUTPUT_CHANNELS, 3)
        )
        self.conv_last = FrameConv(_OUTPUT_CHANNELS, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        T, _, h, w = x.shape[1:]
        x = mirror_to(x, T + T % PAIR, 1)
        x = mirror_to(mirror_to(x, self.window, -2), self.window, -1)
        to_next, to_previous = neighbour_flows(self.spynet, x, on_cpu=self.features_on_cpu)
        pairs = torch.split(x, PAIR, 1)
        # The extracted features, then those of each pass: (N, 2, C, h, w) per frame pair.
        features = [FeatureCache(map(self.feat_extract, pairs), on_cpu=self.features_on_cpu)]
        # The flows between frame pairs, for backward and forward passes.
        pair_flows = {True: self._pair_flows(to_next[::-1]), False: self._pair_flows(to_previous)}
        for name in _PASSES:
            backward = name.startswith("backward")
            pass_features, pair_flows[backward] = self._propagate(
                name, features, pair_flows[backward], backward
            )
            features.append(pass_features)
        outputs = FeatureCache(on_cpu=self.features_on_cpu)
        for frames, *frame_features in zip(pairs, *features, strict=True):
            outputs.append(self._reconstruct(frames, torch.cat(frame_features, 2)))
        return outputs.joined()[:, :T, :, : 4 * h, : 4 * w]

    def _propagate(
        self, name: str, features: list[FeatureCache], pair_flows: FeatureCache, backward: bool
    ) -> tuple[FeatureCache, FeatureCache]:
        """Runs one pass.

        Args:
            name: The pass's name.
            features: The extracted features and those of the previous passes, in playing order;
                (N, 2, C, h, w) per frame pair.
            pair_flows: The result of `_pair_flows` for the pass's direction, or improved flows of an earlier
                pass.
            backward: Whether the pass goes from the last frame to the first.

        Returns:
            The pass's features (N, 2, C, h, w) of every frame pair, in playing order; and the improved flows.
        """
        align, trunk = self.deform_align[name], self.backbone[name]
        pass_features = FeatureCache(on_cpu=self.features_on_cpu)
        improved_flows = FeatureCache(on_cpu=self.features_on_cpu)
        # The features of the previous frame pair, from the previous pass and from this one.
        previous_known = previous = torch.empty(0)
        ordered = (_in_pass_order(cache, backward) for cache in features)
        for i, pair_features in enumerate(zip(*ordered, strict=True)):
            known = [_flip_pair(pair, backward) for pair in pair_features]
            aligned = torch.zeros_like(known[0])
            if i:
                same, other = pair_flows[i - 1].unbind()
                warped = (_warp_frames(previous, same), _warp_frames(previous.flip(1), other))
                aligned, improved = align(known[-1], previous_known, previous, warped, (same, other))
                improved_flows.append(torch.stack(improved))
            previous_known, previous = known[-1], aligned + trunk(torch.cat((*known, aligned), 2))
            pass_features.append(_flip_pair(previous, backward))
        return _in_pass_order(pass_features, backward), improved_flows

    def _pair_flows(self, flows: FeatureCache) -> FeatureCache:
        """Chains flows between neighbouring frames into flows between frame pairs.

        Args:
            flows: ``flows[i]``, (N, 2, h, w), leads from frame i + 1 to frame i; an odd number of flows.

        Returns:
            For every frame pair but the first, (2, N, 2, 2, h, w): the flows from its two frames to the
            previous pair. Index 0 leads to the frame at the same position in the pair, index 1 to the other
            frame.
        """
        pair_flows = FeatureCache(on_cpu=self.features_on_cpu)
        for i in range(PAIR, len(flows), PAIR):
            second_to_first, first_to_second, next_to_first = flows[i - 2 : i + 1]
            same_of_first = first_to_second + warp(second_to_first, first_to_second)
            same_of_second = next_to_first + warp(first_to_second, next_to_first)
            other_of_second = next_to_first + warp(same_of_first, next_to_first)
            same = torch.stack((same_of_first, same_of_second), 1)
            other = torch.stack((first_to_second, other_of_second), 1)
            pair_flows.append(torch.stack((same, other)))
        return pair_flows

    def _reconstruct(self, frames: Tensor, features: Tensor) -> Tensor:
        """Maps frames (N, T, 3, h, w) and features (N, T, 5·C, h, w) to (N, T, 3, 4·h, 4·w)."""
        hidden = self.conv_before_upsampler(self.reconstruction(features))
        residual: Tensor = self.conv_last(self.upsampler(hidden))
        upscaled = functional.interpolate(
            frames.flatten(0, 1), scale_factor=4, mode="bilinear", align_corners=False
        )
        return residual + upscaled.view_as(residual)


def _in_pass_order(pairs: FeatureCache, backward: bool) -> FeatureCache:
    return pairs[::-1] if backward else pairs


def _flip_pair(pair: Tensor, backward: bool) -> Tensor:
    return pair.flip(1) if backward else pair


def _warp_frames(pair: Tensor, flow: Tensor) -> Tensor:
    """Warps each frame of (N, 2, C, h, w) along its flow of (N, 2, 2, h, w)."""
    return warp(pair.flatten(0, 1), flow.flatten(0, 1)).view_as(pair)


def _doubling_layers() -> tuple[nn.Module, ...]:
    """Returns layers that map (N, T, C, h, w) to (N, T, C, 2·h, 2·w)."""
    # The identities take the places of the published layout changes, so that the numbers of the layers agree.
    convolution = FrameConv(_OUTPUT_CHANNELS, 4 * _OUTPUT_CHANNELS, 3)
    return convolution, nn.Identity(), nn.PixelShuffle(2), nn.Identity(), nn.LeakyReLU(_NEGATIVE_SLOPE)
