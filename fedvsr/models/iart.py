"""IART: four recurrent passes, with alignment by attention around where the flow points.

Xu et al., "Enhancing Video Super-Resolution via Implicit Resampling-based Alignment", CVPR 2024,
https://arxiv.org/abs/2305.00163. Modules are named so that the published weights load: the state dict under
``params`` of a released file, unchanged.
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import FieldError, Section
from fedvsr.models.base import check_scale
from fedvsr.models.feature_cache import FeatureCache
from fedvsr.models.iart_backbone import AttentionBlock, Backbone
from fedvsr.models.implicit_alignment import ImplicitWarp
from fedvsr.models.neighbour_flows import neighbour_flows
from fedvsr.models.spynet import SPyNet
from fedvsr.models.warp import warp

_PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")
_OUTPUT_CHANNELS = 64
_NEGATIVE_SLOPE = 0.1


class IARTOptions(Section):
    """The options of IART."""

    channels: int = Field(
        120, ge=4, le=1024, description="feature channels, a multiple of 4 and of the heads"
    )
    groups: int = Field(3, ge=1, le=32, description="groups of attention blocks of each pass")
    depth: int = Field(6, ge=1, le=100, description="attention blocks of a group")
    heads: int = Field(6, ge=1, le=64, description="attention heads")
    window_size: int = Field(8, ge=2, le=64, description="rows and columns of a window")
    drop_path_rate: float = Field(0.1, ge=0, lt=1, description="the last block's rate of stochastic depth")

    @model_validator(mode="after")
    def _channels_divide(self) -> Self:
        if self.channels % 4 or self.channels % self.heads:
            allowed = f"it must be a multiple of 4 and of the heads ({self.heads})"
            raise FieldError("channels", self.channels, allowed)
        return self


class IART(nn.Module):
    """Propagates features backward, forward, backward and forward through the video.

    Every step aligns the refined features of the two previous frames of the pass, and refines them together
    with the current frame's features from the previous pass. Every output frame depends on all input frames.
    The defaults are those of both published REDS models, which were trained on 16 and on 6 frames. Upscales
    by 4 only. Frames of any size and videos of any length are valid.

    Args:
        scale: 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 4.
    """

    description = "four passes with alignment by attention"
    source = (
        "Xu et al., Enhancing Video Super-Resolution via Implicit Resampling-based Alignment, CVPR 2024, "
        "https://arxiv.org/abs/2305.00163"
    )
    parameter_count = 13_410_503
    Options = IARTOptions

    temporal_context = None
    spatial_context = 32
    features_on_cpu = False

    def __init__(self, scale: int, options: IARTOptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (4,), "iart")
        options = options or IARTOptions()
        channels, heads = options.channels, options.heads
        self.spynet = SPyNet()
        self.conv_first = _conv(3, channels)
        sizes = (options.groups, options.depth, heads, options.window_size)
        self.swin_backbone = nn.ModuleDict(
            {name: Backbone(channels, *sizes, options.drop_path_rate) for name in _PASSES}
        )
        self.implicit_warp = ImplicitWarp(channels, heads)
        self.conv_before_upsample = _conv(channels, _OUTPUT_CHANNELS)
        self.upconv1 = _conv(_OUTPUT_CHANNELS, 4 * _OUTPUT_CHANNELS)
        self.upconv2 = _conv(_OUTPUT_CHANNELS, 4 * _OUTPUT_CHANNELS)
        self.conv_hr = _conv(_OUTPUT_CHANNELS, _OUTPUT_CHANNELS)
        self.conv_last = _conv(_OUTPUT_CHANNELS, 3)
        # Checkpointing these modules saves most memory: the activations between them are small.
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
        for frame, refined in zip(frames, features, strict=True):
            outputs.append(self._reconstruct(frame, refined).unsqueeze(1))
        return outputs.joined()

    def _propagate(self, name: str, features: FeatureCache, flows: FeatureCache) -> FeatureCache:
        """Runs one pass.

        Args:
            name: The pass's name.
            features: Each frame's features (N, C, h, w), in the pass's order.
            flows: ``flows[i]``, (N, 2, h, w), leads from frame i + 1 to frame i, counted in the pass's order.

        Returns:
            Each frame's new features (N, C, h, w).
        """
        refined = FeatureCache(on_cpu=self.features_on_cpu)
        # The refined features of the two previous frames, and the flow between them.
        previous = older = older_flow = torch.empty(0)
        for number, current in enumerate(features):
            nearer = farther = current
            if number:
                flow = flows[number - 1]
                nearer = self.implicit_warp(previous, current, flow)
                farther = torch.zeros_like(current)
                if number > 1:
                    farther = self.implicit_warp(older, current, flow + warp(older_flow, flow))
                older_flow = flow
            aligned = torch.stack((nearer, current, farther), 1)
            previous, older = self.swin_backbone[name](aligned), previous
            refined.append(previous)
        return refined

    def _reconstruct(self, frame: Tensor, features: Tensor) -> Tensor:
        """Maps a frame (N, 3, h, w) and its features (N, C, h, w) to (N, 3, 4·h, 4·w)."""
        features = self.conv_before_upsample(features)
        features = _activate(functional.pixel_shuffle(self.upconv1(features), 2))
        features = _activate(functional.pixel_shuffle(self.upconv2(features), 2))
        residual: Tensor = self.conv_last(_activate(self.conv_hr(features)))
        return residual + functional.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False)


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _NEGATIVE_SLOPE)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
