"""VRT: a transformer that sees all frames of a video at once, at four scales.

Liang et al., "VRT: A Video Restoration Transformer", 2022 (IEEE TIP 2024). Modules are named so that
the published weights load: the state dict under ``params`` of a release's file, as it is.
"""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.errors import ConfigError
from fedvsr.models.base import check_count, check_scale
from fedvsr.models.mirror import mirror_to
from fedvsr.models.stochastic_depth import check_rate, rising_rates
from fedvsr.models.vrt_attention import AttentionBlock
from fedvsr.models.vrt_flow import PyramidSPyNet, video_flows
from fedvsr.models.vrt_stages import RefiningStage, Resizing, WarpingStage, widening
from fedvsr.models.vrt_warping import FlowGuidedDeformConv, read_corners

REDS_16_FRAMES: Mapping[str, int] = {"window_frames": 8, "neighbours": 3, "deformable_groups": 24}
"""The options of 002_VRT_videosr_bi_REDS_16frames, where they differ from the defaults."""

_MULTIPLE = 8
"""The size is halved three times."""

_OUTPUT_CHANNELS = 64
_INDEPENDENT = 2
"""How many of the last stages look at every frame by itself."""

_LARGEST_RESIDUE = 10.0
"""How many pixels, at full size, deformable convolution may read beside the flow."""

_RESIZINGS: tuple[Resizing, ...] = ("none", "down", "down", "down", "up", "up", "up")
_SCALES = (0, 1, 2, 3, 2, 1, 0)
"""How many times each warping stage's features are halved."""


class VRT(nn.Module):
    """Attends within windows, warps neighbours along the flow, over and over at four scales.

    Seven warping stages form a U: full size, a half, a quarter, an eighth and back, with skip
    connections; refining stages at full size follow. The defaults are those of
    001_VRT_videosr_bi_REDS_6frames; `REDS_16_FRAMES` are the options of the other REDS release. Upscales
    by 4 only.

    Every video is legal. Where the network needs more, the input is enlarged by its mirror image and
    the surplus cut from the output: to 2 frames, and to sides that are multiples of 8 and at least 8
    windows long (64 pixels by default).

    Args:
        scale: 4.
        channels: Feature channels of the warping stages, a multiple of 4, of the heads and of the
            groups that a neighbour has.
        depth: Attention blocks of a warping stage; three quarters of them, rounded down, are mutual.
        refining_channels: Feature channels of the refining stages, a multiple of the heads.
        refining_stages: How many there are; the last two look at every frame by itself.
        refining_depth: Attention blocks of each.
        heads: Attention heads.
        window_frames: Frames of a window.
        window_size: Rows and columns of a window.
        neighbours: How many frames are warped from either side.
        deformable_groups: Groups of channels that are warped differently, a multiple of the neighbours.
        drop_path_rate: The last block's rate of stochastic depth, from 0 to less than 1.

    Raises:
        fedvsr.errors.ConfigError: The scale or an option is out of range.
    """

    temporal_context = None
    spatial_context = 32

    def __init__(
        self,
        scale: int,
        channels: int = 120,
        depth: int = 8,
        refining_channels: int = 180,
        refining_stages: int = 6,
        refining_depth: int = 4,
        heads: int = 6,
        window_frames: int = 6,
        window_size: int = 8,
        neighbours: int = 1,
        deformable_groups: int = 12,
        drop_path_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_scale(scale, (4,), "vrt")
        check_count("channels", channels, 4, 1024)
        check_count("depth", depth, 2, 100)
        check_count("refining_channels", refining_channels, 1, 1024)
        check_count("refining_stages", refining_stages, _INDEPENDENT, 100)
        check_count("refining_depth", refining_depth, 1, 100)
        check_count("heads", heads, 1, 64)
        check_count("window_frames", window_frames, 1, 64)
        check_count("window_size", window_size, 2, 64)
        check_count("neighbours", neighbours, 1, 3)
        check_count("deformable_groups", deformable_groups, 1, 1024)
        check_rate("drop_path_rate", drop_path_rate)
        _check_shares(channels, refining_channels, heads, neighbours, deformable_groups)
        self.window_size = window_size
        self.neighbours = neighbours
        window = (window_frames, window_size, window_size)
        rates = rising_rates(drop_path_rate, [depth] * len(_SCALES) + [refining_depth] * refining_stages)

        # A frame, and the four pixels around where the flow points in the next and in the previous one.
        self.conv_first = _FrameConv(3 * (1 + 2 * 4), channels)
        self.spynet = PyramidSPyNet()
        for number, (resizing, halvings) in enumerate(zip(_RESIZINGS, _SCALES, strict=True)):
            stage = WarpingStage(
                resizing,
                channels,
                heads,
                window,
                rates[number],
                neighbours,
                deformable_groups,
                _LARGEST_RESIDUE / 2**halvings,
            )
            self.add_module(f"stage{number + 1}", stage)
        self.stage8 = nn.ModuleList([widening(channels, refining_channels)])
        for number, each in enumerate(rates[len(_SCALES) :]):
            alone = number >= refining_stages - _INDEPENDENT
            extent = (1, window_size, window_size) if alone else window
            self.stage8.append(RefiningStage(refining_channels, heads, extent, each))
        self.norm = nn.LayerNorm(refining_channels)
        self.conv_after_body = nn.Linear(refining_channels, channels)
        self.conv_before_upsample = nn.Sequential(_FrameConv(channels, _OUTPUT_CHANNELS), nn.LeakyReLU())
        self.upsample = nn.Sequential(*_upscaling(_OUTPUT_CHANNELS))
        self.conv_last = _FrameConv(_OUTPUT_CHANNELS, 3)
        # Where activation checkpointing saves most for least: what is between them is small.
        self.checkpointed_modules = [
            name
            for name, module in self.named_modules()
            if isinstance(module, AttentionBlock | FlowGuidedDeformConv)
        ]

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


def _check_shares(channels: int, refining_channels: int, heads: int, neighbours: int, groups: int) -> None:
    """Checks that what is shared out evenly can be.

    Raises:
        fedvsr.errors.ConfigError: It cannot.
    """
    if channels % 4 or channels % heads or channels % neighbours:
        allowed = f"it is a multiple of 4, of the heads ({heads}) and of the neighbours ({neighbours})"
        raise ConfigError("model.options.channels", channels, allowed)
    if refining_channels % heads:
        allowed = f"it is a multiple of the heads ({heads})"
        raise ConfigError("model.options.refining_channels", refining_channels, allowed)
    if groups % neighbours or channels % (groups // neighbours):
        allowed = f"each of {neighbours} neighbours needs a whole number of them that divides {channels}"
        raise ConfigError("model.options.deformable_groups", groups, allowed)
