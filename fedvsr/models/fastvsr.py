"""FastVSR: a small sliding-window network of our own, for training on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.base import check_count, check_scale
from fedvsr.models.bicubic import upscale_bicubic


class FastVSR(nn.Module):
    """Adds a residual that a few convolutions find in a frame and its neighbours to a bicubic upscaling.

    Each frame's features are computed once, at the input's size; a frame's features are then
    concatenated with those of the frame before and after it (the first and last frame stand in for
    those that are missing), refined by residual blocks, and rearranged to the output's size. The
    last convolution starts at zero, so the untrained network is exactly `Bicubic`.

    Args:
        scale: 2, 3 or 4.
        channels: Feature channels.
        blocks: Residual blocks after the fusion.

    Raises:
        fedvsr.errors.ConfigError: The scale or an option is out of range.
    """

    temporal_context = 1

    def __init__(self, scale: int, channels: int = 32, blocks: int = 4) -> None:
        super().__init__()
        check_scale(scale, (2, 3, 4), "fastvsr")
        check_count("channels", channels, 4, 256)
        check_count("blocks", blocks, 1, 64)
        self.scale = scale
        self.spatial_context = 2 * blocks + 5
        self.features = nn.Conv2d(3, channels, 5, padding=2)
        self.fusion = nn.Conv2d(3 * channels, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_ResidualBlock(channels) for _ in range(blocks)))
        self.residual = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, s·h, s·w); overshoots are not clipped."""
        frames = x.flatten(0, 1)
        features = functional.relu(self.features(frames))
        fused = functional.relu(
            self.fusion(_with_neighbours(features.reshape(*x.shape[:2], *features.shape[1:])))
        )
        residual = functional.pixel_shuffle(self.residual(self.blocks(fused)), self.scale)
        upscaled = upscale_bicubic(frames, self.scale) + residual
        return upscaled.reshape(*x.shape[:2], *upscaled.shape[1:])


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(functional.relu(self.first(x)))
        return x + residual


def _with_neighbours(videos: Tensor) -> Tensor:
    """Puts the previous frame's channels before every frame's and the next's behind: (N·T, 3·C, h, w)."""
    before = torch.cat((videos[:, :1], videos[:, :-1]), 1)
    after = torch.cat((videos[:, 1:], videos[:, -1:]), 1)
    return torch.cat((before, videos, after), 2).flatten(0, 1)
