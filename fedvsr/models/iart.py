"""IART: recurrent in both directions, twice, aligned by attention where the flow points.

Xu et al., "Enhancing Video Super-Resolution via Implicit Resampling-based Alignment", CVPR 2024. Modules
are named so that the published weights load: the state dict under ``params`` of a release's file, as
it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.errors import ConfigError
from fedvsr.models.base import check_count, check_scale
from fedvsr.models.feature_cache import FeatureCache
from fedvsr.models.iart_backbone import AttentionBlock, Backbone
from fedvsr.models.implicit_alignment import ImplicitWarp
from fedvsr.models.neighbour_flows import neighbour_flows
from fedvsr.models.spynet import SPyNet
from fedvsr.models.stochastic_depth import check_rate
from fedvsr.models.warp import warp

_PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")
_OUTPUT_CHANNELS = 64
_SLOPE = 0.1


class IART(nn.Module):
    """Carries features through the video four times: back, forth, back and forth.

    Every step aligns what the two frames before, in the pass's direction, became, and refines both
    together with the frame's features of the previous pass. Every output frame depends on all input
    frames. The defaults are those of the published REDS models, of 16 frames and of 6: those differ only
    in what they were trained on. Upscales by 4 only. Every video is legal, of one frame and of any size.

    Args:
        scale: 4.
        channels: Feature channels, a multiple of 4 and of the heads.
        groups: Groups of attention blocks of each pass.
        depth: Attention blocks of a group.
        heads: Attention heads.
        window_size: Rows and columns of a window.
        drop_path_rate: The last block's rate of stochastic depth, from 0 to less than 1.

    Raises:
        fedvsr.errors.ConfigError: The scale or an option is out of range.
    """

    temporal_context = None
    spatial_context = 32
    features_on_cpu = False

    def __init__(
        self,
        scale: int,
        channels: int = 120,
        groups: int = 3,
        depth: int = 6,
        heads: int = 6,
        window_size: int = 8,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_scale(scale, (4,), "iart")
        check_count("channels", channels, 4, 1024)
        check_count("groups", groups, 1, 32)
        check_count("depth", depth, 1, 100)
        check_count("heads", heads, 1, 64)
        check_count("window_size", window_size, 2, 64)
        check_rate("drop_path_rate", drop_path_rate)
        if channels % 4 or channels % heads:
            allowed = f"it is a multiple of 4 and of the heads ({heads})"
            raise ConfigError("model.options.channels", channels, allowed)
        self.spynet = SPyNet()
        self.conv_first = _conv(3, channels)
        self.swin_backbone = nn.ModuleDict(
            {name: Backbone(channels, groups, depth, heads, window_size, drop_path_rate) for name in _PASSES}
        )
        self.implicit_warp = ImplicitWarp(channels, heads)
        self.conv_before_upsample = _conv(channels, _OUTPUT_CHANNELS)
        self.upconv1 = _conv(_OUTPUT_CHANNELS, 4 * _OUTPUT_CHANNELS)
        self.upconv2 = _conv(_OUTPUT_CHANNELS, 4 * _OUTPUT_CHANNELS)
        self.conv_hr = _conv(_OUTPUT_CHANNELS, _OUTPUT_CHANNELS)
        self.conv_last = _conv(_OUTPUT_CHANNELS, 3)
        # Where activation checkpointing saves most for least: what is between them is small.
        self.checkpointed_modules = ["implicit_warp"] + [
            name for name, module in self.named_modules() if isinstance(module, AttentionBlock)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, 4·h, 4·w); overshoots are not clipped."""
        to_next, to_previous = neighbour_flows(self.spynet, x, on_cpu=self.features_on_cpu)
        frames = x.unbind(1)
        features = FeatureCache(map(self.conv_first, frames), on_cpu=self.features_on_cpu)
        for name in _PASSES:
            if name.startswith("backward"):
                features = self._propagate(name, features[::-1], to_next[::-1])[::-1]
            else:
                features = self._propagate(name, features, to_previous)
        outputs = FeatureCache(on_cpu=self.features_on_cpu)
        for each in zip(frames, features, strict=True):
            outputs.append(self._reconstruct(*each).unsqueeze(1))
        return outputs.joined()

    def _propagate(self, name: str, features: FeatureCache, flows: FeatureCache) -> FeatureCache:
        """Runs one pass.

        Args:
            name: Whose backbone refines.
            features: Each frame's features (N, C, h, w), in the pass's direction.
            flows: ``flows[i]``, (N, 2, h, w), leads from frame i + 1 to frame i.

        Returns:
            Each frame's new features (N, C, h, w).
        """
        refined = FeatureCache(on_cpu=self.features_on_cpu)
        # What the two frames before became, and the flow between them.
        latest = older = older_flow = torch.empty(0)
        for number, current in enumerate(features):
            nearer = farther = current
            if number:
                flow = flows[number - 1]
                nearer = self.implicit_warp(latest, current, flow)
                farther = torch.zeros_like(current)
                if number > 1:
                    farther = self.implicit_warp(older, current, flow + warp(older_flow, flow))
                older_flow = flow
            aligned = torch.stack((nearer, current, farther), 1)
            latest, older = self.swin_backbone[name](aligned), latest
            refined.append(latest)
        return refined

    def _reconstruct(self, frame: Tensor, features: Tensor) -> Tensor:
        """Maps a frame (N, 3, h, w) and its features (N, C, h, w) to (N, 3, 4·h, 4·w)."""
        features = self.conv_before_upsample(features)
        features = _activate(functional.pixel_shuffle(self.upconv1(features), 2))
        features = _activate(functional.pixel_shuffle(self.upconv2(features), 2))
        residual: Tensor = self.conv_last(_activate(self.conv_hr(features)))
        return residual + functional.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False)


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
