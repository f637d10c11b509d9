"""FastVSR: fedvsr's small sliding-window network, designed to learn quickly on a CPU."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import Section
from fedvsr.models.base import check_scale
from fedvsr.models.bicubic import upscale_bicubic
from fedvsr.models.detail import DETAIL_RADIUS, RESIDUAL_GAIN, detail

_BLOCK_INITIAL_SCALE = 0.1


class FastVSROptions(Section):
    """The options of FastVSR."""

    channels: int = Field(32, ge=4, le=256, description="feature channels; multiples of 16 are fast")
    blocks: int = Field(3, ge=1, le=64, description="residual blocks after the fusion")


class FastVSR(nn.Module):
    """Adds a residual to a bicubic upscaling, computed from each frame and its two neighbours.

    The network's input is the frames' detail (`fedvsr.models.detail`). Each frame's features are computed
    once, at the input's size. They are concatenated with those of the previous and of the next frame, refined
    by residual blocks, and rearranged to the output's size. At the ends of the video, the first or last frame
    stands in for the missing neighbour. The last convolution starts at zero, so the untrained network is
    exactly `fedvsr.models.bicubic.Bicubic`.

    Args:
        scale: 2, 3 or 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 2, 3 or 4.
    """

    description = "small sliding-window network that learns fast on a CPU"
    source = "fedvsr"
    parameter_count = 99_472
    Options = FastVSROptions

    temporal_context = 1

    def __init__(self, scale: int, options: FastVSROptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (2, 3, 4), "fastvsr")
        options = options or FastVSROptions()
        channels, blocks = options.channels, options.blocks
        self.scale = scale
        self.features = _conv(3, channels, 5)
        self.fusion = _conv(3 * channels, channels, 3)
        self.blocks = nn.Sequential(*(_ResidualBlock(channels) for _ in range(blocks)))
        self.residual = _conv(channels, 3 * scale**2, 3, initial_scale=0.0)
        # The sum of the radii of the local mean, the first convolution and the 3 × 3 convolutions.
        self.spatial_context = DETAIL_RADIUS + 2 + 1 + 2 * blocks + 1

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, s·h, s·w); overshoots are not clipped."""
        N, T = x.shape[:2]
        frames = x.flatten(0, 1)
        features = functional.relu(self.features(detail(frames)))
        neighbourhoods = _with_neighbours(features.reshape(N, T, *features.shape[1:]))
        fused = functional.relu(self.fusion(neighbourhoods.flatten(0, 1)))
        residual = functional.pixel_shuffle(self.residual(self.blocks(fused)), self.scale)
        upscaled = upscale_bicubic(frames, self.scale) + RESIDUAL_GAIN * residual
        return upscaled.reshape(N, T, *upscaled.shape[1:])


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, 3)
        self.second = _conv(channels, channels, 3, initial_scale=_BLOCK_INITIAL_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(functional.relu(self.first(x)))
        return x + residual


def _with_neighbours(features: Tensor) -> Tensor:
    """Maps (N, T, C, h, w) to (N, T, 3·C, h, w): the channels of the previous, this and the next frame."""
    previous = torch.cat((features[:, :1], features[:, :-1]), 1)
    following = torch.cat((features[:, 1:], features[:, -1:]), 1)
    return torch.cat((previous, features, following), 2)


def _conv(inputs: int, outputs: int, size: int, initial_scale: float = 1.0) -> nn.Conv2d:
    """Returns a convolution that keeps the frame's size, initialised after He et al. 2015 times a factor."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    conv.weight.data.mul_(initial_scale)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
