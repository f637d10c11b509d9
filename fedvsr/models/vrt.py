"""VRT: a transformer that sees all frames of a video at once, at four scales.

Liang et al., "VRT: A Video Restoration Transformer", IEEE Transactions on Image Processing 2024,
https://arxiv.org/abs/2201.12288. Modules are named so that the published weights load: the state dict under
``params`` of a release's file, as it is.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import FieldError, Section
from fedvsr.models.base import check_scale
from fedvsr.models.mirror import mirror_to
from fedvsr.models.stochastic_depth import rising_rates
from fedvsr.models.vrt_attention import AttentionBlock
from fedvsr.models.vrt_flow import PyramidSPyNet, video_flows
from fedvsr.models.vrt_stages import RefiningStage, Resizing, WarpingStage, widening
from fedvsr.models.vrt_warping import FlowGuidedDeformConv, read_corners

REDS_16_FRAMES: Mapping[str, int] = {"window_frames": 8, "neighbours": 3, "deformable_groups": 24}
"""The options of 002_VRT_videosr_bi_REDS_16frames that differ from the defaults."""

_MULTIPLE = 8
"""The size is halved three times."""

_OUTPUT_CHANNELS = 64
_INDEPENDENT = 2
"""How many of the last stages look at every frame by itself."""

_MAX_RESIDUE = 10.0
"""How many pixels, at full size, deformable convolution may read beside the flow."""

_RESIZINGS: tuple[Resizing, ...] = ("none", "down", "down", "down", "up", "up", "up")
_SCALES = (0, 1, 2, 3, 2, 1, 0)
"""How many times each warping stage's features are halved."""


class VRTOptions(Section):
    """The options of VRT."""

    channels: int = Field(
        120,
        ge=4,
        le=1024,
        description="feature channels of the warping stages, a multiple of 4, of the heads and of the groups "
        "per neighbour",
    )
    depth: int = Field(
        8,
        ge=2,
        le=100,
        description="attention blocks of a warping stage; three quarters of them, rounded down, are mutual",
    )
    refining_channels: int = Field(
        180, ge=1, le=1024, description="feature channels of the refining stages, a multiple of the heads"
    )
    refining_stages: int = Field(
        6,
        ge=_INDEPENDENT,
        le=100,
        description="refining stages; the last two look at every frame by itself",
    )
    refining_depth: int = Field(4, ge=1, le=100, description="attention blocks of a refining stage")
    heads: int = Field(6, ge=1, le=64, description="attention heads")
    window_frames: int = Field(6, ge=1, le=64, description="frames of a window")
    window_size: int = Field(8, ge=2, le=64, description="rows and columns of a window")
    neighbours: int = Field(1, ge=1, le=3, description="frames that are warped from either side")
    deformable_groups: int = Field(
        12,
        ge=1,
        le=1024,
        description="groups of channels that are warped differently, a multiple of the neighbours",
    )
    drop_path_rate: float = Field(0.2, ge=0, lt=1, description="the last block's rate of stochastic depth")

    @model_validator(mode="after")
    def _channels_divide(self) -> Self:
        channels, heads, neighbours = self.channels, self.heads, self.neighbours
        if channels % 4 or channels % heads or channels % neighbours:
            allowed = (
                f"it must be a multiple of 4, of the heads ({heads}) and of the neighbours ({neighbours})"
            )
            raise FieldError("channels", channels, allowed)
        if self.refining_channels % heads:
            allowed = f"it must be a multiple of the heads ({heads})"
            raise FieldError("refining_channels", self.refining_channels, allowed)
        groups = self.deformable_groups
        if groups % neighbours or channels % (groups // neighbours):
            allowed = f"each of {neighbours} neighbours needs a whole number of them that divides {channels}"
            raise FieldError("deformable_groups", groups, allowed)
        return self


class VRT(nn.Module):
    """Attends within windows, warps neighbours along the flow, over and over at four scales.

    Seven warping stages form a U: full size, a half, a quarter, an eighth and back, with skip
    connections; refining stages at full size follow. The defaults are those of
    001_VRT_videosr_bi_REDS_6frames; `REDS_16_FRAMES` are the options of the other REDS release. Upscales
    by 4 only.

    Every video is valid. A smaller one is enlarged by its mirror image to 2 frames, and to sides that are
    multiples of 8 and at least 8 windows long (64 pixels by default). The surplus is cut from the output.

    Args:
        scale: 4.
        options: The options; their defaults if None.

    Raises:
        fedvsr.errors.ConfigError: The model has no such scale.
    """

    description = "transformer over all frames at four scales"
    source = (
        "Liang et al., VRT: A Video Restoration Transformer, IEEE TIP 2024, https://arxiv.org/abs/2201.12288"
    )
    parameter_count = 30_676_435
    Options = VRTOptions

    temporal_context = None
    spatial_context = 32

    def __init__(self, scale: int, options: VRTOptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (4,), "vrt")
        options = options or VRTOptions()
        channels, refining_channels = options.channels, options.refining_channels
        self.window_size = options.window_size
        self.neighbours = options.neighbours

        # A frame, and the four pixels around where the flow points in the next and in the previous one.
        self.conv_first = _FrameConv(3 * (1 + 2 * 4), channels)
        self.spynet = PyramidSPyNet()
        self._add_stages(options)
        self.norm = nn.LayerNorm(refining_channels)
        self.conv_after_body = nn.Linear(refining_channels, channels)
        self.conv_before_upsample = nn.Sequential(_FrameConv(channels, _OUTPUT_CHANNELS), nn.LeakyReLU())
        self.upsample = nn.Sequential(*_upscaling(_OUTPUT_CHANNELS))
        self.conv_last = _FrameConv(_OUTPUT_CHANNELS, 3)
        # Activation checkpointing saves most here: the activations between these modules are small.
        self.checkpointed_modules = [
            name
            for name, module in self.named_modules()
            if isinstance(module, AttentionBlock | FlowGuidedDeformConv)
        ]

    def _add_stages(self, options: VRTOptions) -> None:
        """Adds the warping stages and the refining stages."""
        size, refining_stages = options.window_size, options.refining_stages
        window = (options.window_frames, size, size)
        depths = [options.depth] * len(_SCALES) + [options.refining_depth] * refining_stages
        rates = rising_rates(options.drop_path_rate, depths)
        for number, (resizing, halvings) in enumerate(zip(_RESIZINGS, _SCALES, strict=True)):
            stage = WarpingStage(
                resizing,
                options.channels,
                options.heads,
                window,
                rates[number],
                options.neighbours,
                options.deformable_groups,
                _MAX_RESIDUE / 2**halvings,
            )
            self.add_module(f"stage{number + 1}", stage)
        self.stage8 = nn.ModuleList([widening(options.channels, options.refining_channels)])
        for number, stage_rates in enumerate(rates[len(_SCALES) :]):
            alone = number >= refining_stages - _INDEPENDENT
            extent = (1, size, size) if alone else window
            self.stage8.append(RefiningStage(options.refining_channels, options.heads, extent, stage_rates))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        T, _, h, w = x.shape[1:]
        x = mirror_to(x, 2, 1)
        for dimension in (3, 4):
            side = max(x.shape[dimension], _MULTIPLE * self.window_size)
            x = mirror_to(x, -(-side // _MULTIPLE) * _MULTIPLE, dimension)
        return self._upscaled(x)[:, :T, :, : 4 * h, : 4 * w]

    def _upscaled(self, x: Tensor) -> Tensor:
        """Upscales a video of a size that the network takes as it is."""
        ahead, behind = video_flows(self.spynet, x, self.neighbours)
        frames = torch.cat((x, *_corners(x, ahead[0][0], behind[0][0])), 2)
        features = self.conv_first(frames)
        # (N, T, C, h, w) for convolutions, (N, T, h, w, C) for attention.
        body = self.conv_after_body(self._body(features.permute(0, 1, 3, 4, 2), ahead, behind))
        features = features + body.permute(0, 1, 4, 2, 3)
        residual: Tensor = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        upscaled = functional.interpolate(
            x.flatten(0, 1), scale_factor=4, mode="bilinear", align_corners=False
        )
        return residual + upscaled.view(residual.shape)

    def _body(self, x: Tensor, ahead: list[list[Tensor]], behind: list[list[Tensor]]) -> Tensor:
        """Maps (N, T, h, w, channels) to (N, T, h, w, refining channels)."""
        skipped: list[Tensor] = []
        for number, halvings in enumerate(_SCALES):
            if number > 4:
                x = x + skipped[halvings + 1]
            x = getattr(self, f"stage{number + 1}")(x, ahead[halvings], behind[halvings])
            skipped.append(x)
        x = x + skipped[0]
        for stage in self.stage8:
            x = stage(x)
        features: Tensor = self.norm(x)
        return features


class _FrameConv(nn.Conv3d):
    """A 3 × 3 convolution of every frame by itself.

    The published weights are those of a convolution in three dimensions, one frame deep. In two
    dimensions the same takes two thirds of the time on a CPU, and less memory.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, (1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, inputs, h, w) to (N, T, outputs, h, w)."""
        frames = functional.conv2d(x.flatten(0, 1), self.weight[:, :, 0], self.bias, padding=1)
        return frames.view(*x.shape[:2], *frames.shape[1:])


def _upscaling(channels: int) -> list[nn.Module]:
    # The published modules count a change of layout before the shuffle and one after it.
    double = (
        (
            _FrameConv(channels, 4 * channels),
            nn.Identity(),
            nn.PixelShuffle(2),
            nn.Identity(),
            nn.LeakyReLU(0.1),
        )
        for _ in range(2)
    )
    return [*chain(*double), _FrameConv(channels, channels)]


def _corners(x: Tensor, ahead: Tensor, behind: Tensor) -> tuple[Tensor, Tensor]:
    """Reads four pixels of the next frame and of the previous one for each pixel.

    Args:
        x: (N, T, 3, h, w).
        ahead: (N, T − 1, 2, h, w), the flows to the next frames.
        behind: (N, T − 1, 2, h, w), the flows to the previous frames.

    Returns:
        Twice (N, T, 12, h, w), zeros where there is no such frame.
    """
    N, T = x.shape[:2]
    following = read_corners(x[:, 1:].flatten(0, 1), ahead.flatten(0, 1))
    previous = read_corners(x[:, :-1].flatten(0, 1), behind.flatten(0, 1))
    shape = (N, T - 1, *following.shape[1:])
    none = (0, 0, 0, 0, 0, 0)
    return (
        functional.pad(following.view(shape), (*none, 0, 1)),
        functional.pad(previous.view(shape), (*none, 1, 0)),
    )
