"""RVRT: recurrent over clips of two frames, transformers inside, guided deformable attention between.

Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention", NeurIPS 2022,
https://arxiv.org/abs/2206.02146, as released for ×4 super-resolution. Modules are named so that the
published weights load.
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
from fedvsr.models.guided_deformable_attention import CLIP, GuidedDeformableAttention
from fedvsr.models.mirror import mirror_to
from fedvsr.models.neighbour_flows import neighbour_flows
from fedvsr.models.rvrt_blocks import TransformerTrunk
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

_OUTPUT_CHANNELS = 64
_SLOPE = 0.1
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
    """Carries features of two frames at a time backward, forward, backward and forward through the video.

    Every pass sees the results of the passes before it. Inside a clip, transformer layers let both frames'
    pixels attend to each other; from clip to clip, features move by guided deformable attention, and the
    last two passes start from the flows that the first two improved. Every output frame depends
    on all input frames. The passes build on each other, so reversing the video does not just
    reverse the output.

    Frames may have any size and a video any length, from one pixel and one frame. The last frame of
    an odd number counts twice, and a side shorter than a window is continued by its mirror image. The
    surplus is cut from the output. Upscales by 4 only: the architecture ends in two upscalings by 2.

    Args:
        scale: 4.
        options: The options; their defaults if None.

    Raises:
        fedvsr.errors.ConfigError: The model has no such scale.
    """

    description = "recurrent transformer over clips of two frames"
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
            self.backbone[name] = trunk((2 + number) * channels, options.blocks, CLIP)
        self.reconstruction = trunk(5 * channels, _OUTER_BLOCKS, 1)
        self.conv_before_upsampler = nn.Sequential(
            FrameConv(channels, _OUTPUT_CHANNELS, 1), nn.LeakyReLU(_SLOPE)
        )
        self.upsampler = nn.Sequential(
            *_doubling(), *_doubling(), FrameConv(_OUTPUT_CHANNELS, _OUTPUT_CHANNELS, 3)
        )
        self.conv_last = FrameConv(_OUTPUT_CHANNELS, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        T, _, h, w = x.shape[1:]
        x = mirror_to(x, T + T % CLIP, 1)
        x = mirror_to(mirror_to(x, self.window, -2), self.window, -1)
        to_next, to_previous = neighbour_flows(self.spynet, x, on_cpu=self.features_on_cpu)
        clips = torch.split(x, CLIP, 1)
        # The clips' own features, then those of each pass: (N, 2, C, h, w) per clip.
        features = [FeatureCache(map(self.feat_extract, clips), on_cpu=self.features_on_cpu)]
        # The flows between clips, for either direction of the passes.
        paths = {True: self._paths(to_next[::-1]), False: self._paths(to_previous)}
        for name in _PASSES:
            backward = name.startswith("backward")
            pass_features, paths[backward] = self._propagate(name, features, paths[backward], backward)
            features.append(pass_features)
        outputs = FeatureCache(on_cpu=self.features_on_cpu)
        for frames, *known in zip(clips, *features, strict=True):
            outputs.append(self._reconstruct(frames, torch.cat(known, 2)))
        return outputs.joined()[:, :T, :, : 4 * h, : 4 * w]

    def _propagate(
        self, name: str, features: list[FeatureCache], paths: FeatureCache, backward: bool
    ) -> tuple[FeatureCache, FeatureCache]:
        """Runs one pass.

        Args:
            name: The pass's.
            features: The features of the clips so far, in playing order: (N, 2, C, h, w) each.
            paths: What `_paths` returns for the pass's direction.
            backward: Whether the pass goes from the last frame to the first.

        Returns:
            For every clip, in playing order, (N, 2, C, h, w); and better paths.
        """
        align, trunk = self.deform_align[name], self.backbone[name]
        pass_features = FeatureCache(on_cpu=self.features_on_cpu)
        refined = FeatureCache(on_cpu=self.features_on_cpu)
        # The previous clip's features after the pass before this one, and after this one.
        latest_known = latest = torch.empty(0)
        for i, clips in enumerate(zip(*(_turned(cache, backward) for cache in features), strict=True)):
            known = [_turned_clip(clip, backward) for clip in clips]
            carried = torch.zeros_like(known[0])
            if i:
                same, other = paths[i - 1].unbind()
                warped = (_warp_frames(latest, same), _warp_frames(latest.flip(1), other))
                carried, path = align(known[-1], latest_known, latest, warped, (same, other))
                refined.append(torch.stack(path))
            latest_known, latest = known[-1], carried + trunk(torch.cat((*known, carried), 2))
            pass_features.append(_turned_clip(latest, backward))
        return _turned(pass_features, backward), refined

    def _paths(self, flows: FeatureCache) -> FeatureCache:
        """Chains flows between neighbours to flows between clips.

        Args:
            flows: ``flows[i]``, (N, 2, h, w), leads from frame i + 1 to frame i; their number is odd.

        Returns:
            For every clip but the first (2, N, 2, 2, h, w): the flows from its frames to the clip before,
            first to the frame with the same number, then to the other one.
        """
        paths = FeatureCache(on_cpu=self.features_on_cpu)
        for i in range(CLIP, len(flows), CLIP):
            second_to_first, first_to_second, next_to_first = flows[i - 2 : i + 1]
            same_of_first = first_to_second + warp(second_to_first, first_to_second)
            same_of_second = next_to_first + warp(first_to_second, next_to_first)
            other_of_second = next_to_first + warp(same_of_first, next_to_first)
            same = torch.stack((same_of_first, same_of_second), 1)
            other = torch.stack((first_to_second, other_of_second), 1)
            paths.append(torch.stack((same, other)))
        return paths

    def _reconstruct(self, frames: Tensor, features: Tensor) -> Tensor:
        """Maps frames (N, T, 3, h, w) and features (N, T, 5·C, h, w) to (N, T, 3, 4·h, 4·w)."""
        hidden = self.conv_before_upsampler(self.reconstruction(features))
        residual: Tensor = self.conv_last(self.upsampler(hidden))
        upscaled = functional.interpolate(
            frames.flatten(0, 1), scale_factor=4, mode="bilinear", align_corners=False
        )
        return residual + upscaled.view_as(residual)


def _turned(clips: FeatureCache, backward: bool) -> FeatureCache:
    return clips[::-1] if backward else clips


def _turned_clip(clip: Tensor, backward: bool) -> Tensor:
    return clip.flip(1) if backward else clip


def _warp_frames(clip: Tensor, flow: Tensor) -> Tensor:
    """Moves each frame of (N, 2, C, h, w) along its flow of (N, 2, 2, h, w)."""
    return warp(clip.flatten(0, 1), flow.flatten(0, 1)).view_as(clip)


def _doubling() -> tuple[nn.Module, ...]:
    """Returns layers that map (N, T, C, h, w) to (N, T, C, 2·h, 2·w)."""
    # An identity stands for a change of layout in the published network.
    enlarged = FrameConv(_OUTPUT_CHANNELS, 4 * _OUTPUT_CHANNELS, 3)
    return enlarged, nn.Identity(), nn.PixelShuffle(2), nn.Identity(), nn.LeakyReLU(_SLOPE)
