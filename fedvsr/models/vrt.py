"""VRT: a transformer over all frames of a video at once, at four resolutions.

Liang et al., "VRT: A Video Restoration Transformer", IEEE Transactions on Image Processing 2024,
https://arxiv.org/abs/2201.12288. Modules are named so that the published weights load: the state dict under
``params`` of a release's file, as it is.
"""

from itertools import chain
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import FieldError, Section
from fedvsr.models.base import check_scale
from fedvsr.models.frame_conv import FrameConv
from fedvsr.models.mirror import mirror_to
from fedvsr.models.stochastic_depth import rising_rates
from fedvsr.models.vrt_alignment import FlowGuidedDeformConv
from fedvsr.models.vrt_attention import AttentionBlock
from fedvsr.models.vrt_flow import PyramidSPyNet, video_flows
from fedvsr.models.vrt_stages import RefiningStage, Resizing, WarpingStage, widening_layers
from fedvsr.models.warp import sample_corners

_MULTIPLE = 8
"""The network halves the height and width three times, so both must be multiples of this."""

_OUTPUT_CHANNELS = 64
_SINGLE_FRAME_STAGES = 2
"""Number of refining stages, the last ones, whose windows are one frame long."""

_MAX_RESIDUE = 10.0
"""Largest predicted offset of a deformable convolution from the flow, in pixels at full size."""

_RESIZINGS: tuple[Resizing, ...] = ("none", "down", "down", "down", "up", "up", "up")
_HALVINGS = (0, 1, 2, 3, 2, 1, 0)
"""Number of halvings of height and width, for each warping stage."""


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
        ge=_SINGLE_FRAME_STAGES,
        le=100,
        description="refining stages; the last two attend within each frame separately",
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
    """Alternates attention within windows and warping of neighbours along the flow, at four resolutions.

    Seven warping stages form a U: full size, a half, a quarter, an eighth and back, with skip connections.
    Refining stages at full size follow. The defaults are those of 001_VRT_videosr_bi_REDS_6frames.
    `fedvsr.config.presets` has the options of the other releases. Upscales by 4 only.

    Every size and length is valid. The video is extended by its mirror image to at least 2 frames, and to
    sides that are multiples of 8 and at least 8 windows long (64 pixels by default). The surplus is cut from
    the output.

    Args:
        scale: 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 4.
    """

    description = "transformer over all frames at four resolutions"
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

        # The channels of a frame, and of four pixels each of the next and of the previous frame.
        self.conv_first = FrameConv(3 * (1 + 2 * 4), channels, 3)
        self.spynet = PyramidSPyNet()
        self._add_stages(options)
        self.norm = nn.LayerNorm(refining_channels)
        self.conv_after_body = nn.Linear(refining_channels, channels)
        self.conv_before_upsample = nn.Sequential(FrameConv(channels, _OUTPUT_CHANNELS, 3), nn.LeakyReLU())
        self.upsample = nn.Sequential(*_upscaling_layers(_OUTPUT_CHANNELS))
        self.conv_last = FrameConv(_OUTPUT_CHANNELS, 3, 3)
        # Checkpointing these modules saves most memory: the activations between them are small.
        self.checkpointed_modules = [
            name
            for name, module in self.named_modules()
            if isinstance(module, AttentionBlock | FlowGuidedDeformConv)
        ]

    def _add_stages(self, options: VRTOptions) -> None:
        """Adds the warping stages and the refining stages."""
        size, refining_stages = options.window_size, options.refining_stages
        window = (options.window_frames, size, size)
        depths = [options.depth] * len(_HALVINGS) + [options.refining_depth] * refining_stages
        rates = rising_rates(options.drop_path_rate, depths)
        for number, (resizing, halvings) in enumerate(zip(_RESIZINGS, _HALVINGS, strict=True)):
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
        self.stage8 = nn.ModuleList([widening_layers(options.channels, options.refining_channels)])
        for number, stage_rates in enumerate(rates[len(_HALVINGS) :]):
            single_frame = number >= refining_stages - _SINGLE_FRAME_STAGES
            stage_window = (1, size, size) if single_frame else window
            self.stage8.append(
                RefiningStage(options.refining_channels, options.heads, stage_window, stage_rates)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        T, _, h, w = x.shape[1:]
        x = mirror_to(x, 2, 1)
        for dimension in (3, 4):
            side = max(x.shape[dimension], _MULTIPLE * self.window_size)
            x = mirror_to(x, -(-side // _MULTIPLE) * _MULTIPLE, dimension)
        return self._upscale(x)[:, :T, :, : 4 * h, : 4 * w]

    def _upscale(self, x: Tensor) -> Tensor:
        """Upscales a video that needs no extension."""
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
        for number, halvings in enumerate(_HALVINGS):
            if number > 4:
                x = x + skipped[halvings + 1]
            x = getattr(self, f"stage{number + 1}")(x, ahead[halvings], behind[halvings])
            skipped.append(x)
        x = x + skipped[0]
        for stage in self.stage8:
            x = stage(x)
        features: Tensor = self.norm(x)
        return features


def _upscaling_layers(channels: int) -> list[nn.Module]:
    # The identities take the places of the published layout changes, so that the numbers of the layers agree.
    doublings = (
        (
            FrameConv(channels, 4 * channels, 3),
            nn.Identity(),
            nn.PixelShuffle(2),
            nn.Identity(),
            nn.LeakyReLU(0.1),
        )
        for _ in range(2)
    )
    return [*chain(*doublings), FrameConv(channels, channels, 3)]


def _corners(x: Tensor, ahead: Tensor, behind: Tensor) -> tuple[Tensor, Tensor]:
    """Reads, for each pixel, four pixels of the next frame and four of the previous one.

    Args:
        x: (N, T, 3, h, w).
        ahead: (N, T − 1, 2, h, w), the flows to the next frames.
        behind: (N, T − 1, 2, h, w), the flows to the previous frames.

    Returns:
        Two tensors (N, T, 12, h, w), for the next and the previous frame; zeros if there is no such frame.
    """
    N, T = x.shape[:2]
    following = sample_corners(x[:, 1:].flatten(0, 1), ahead.flatten(0, 1))
    previous = sample_corners(x[:, :-1].flatten(0, 1), behind.flatten(0, 1))
    shape = (N, T - 1, *following.shape[1:])
    no_padding = (0, 0, 0, 0, 0, 0)
    return (
        functional.pad(following.view(shape), (*no_padding, 0, 1)),
        functional.pad(previous.view(shape), (*no_padding, 1, 0)),
    )
