"""Implicit alignment: attention to four pixels instead of their interpolation.

Xu et al., "Enhancing Video Super-Resolution via Implicit Resampling-based Alignment", CVPR 2024,
https://arxiv.org/abs/2305.00163. Modules are named so that the published weights load.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.models.sine_positions import EPSILON, encode_positions

_SIDE = 2
"""Rows and columns of the pixels around where the flow points."""

_TEMPERATURE = 0.01


class ImplicitWarp(nn.Module):
    """Warps features along a flow: each pixel attends to the 2 × 2 pixels around where its flow points.

    The query is the pixel, with an encoding of the position between the four pixels. Keys and values are the
    four pixels, with encodings of their places. Beyond the border, the nearest pixel counts.

    Args:
        channels: Number of channels, C; a multiple of 4 and of ``heads``.
        heads: Number of attention heads.
    """

    position_bias: Tensor
    window_idx_offset: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.channels = channels
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        places = torch.stack(torch.meshgrid(torch.arange(_SIDE), torch.arange(_SIDE), indexing="ij"), -1)
        corners = places.view(-1, 2)
        angles = corners / (corners[-1].float() + EPSILON) * (2 * math.pi)
        encoded = encode_positions(angles[:, 0], angles[:, 1], channels, _TEMPERATURE)
        self.register_buffer("position_bias", encoded[None])
        self.register_buffer("window_idx_offset", corners)

    def forward(self, source: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        """Aligns one frame's features to another frame.

        Args:
            source: The features to read, (N, C, H, W).
            current: The features of the frame to align to, (N, C, H, W).
            flow: From ``current`` to ``source``, (N, 2, H, W) in pixels; channel 0 points right,
                channel 1 down.

        Returns:
            (N, C, H, W).
        """
        N, C, H, W = current.shape
        columns = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
        rows = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
        places = torch.stack((rows, columns), -1)
        upper_left = places.floor()

        angles = (places - upper_left) / (_SIDE + EPSILON) * (2 * math.pi)
        between = encode_positions(angles[..., 0], angles[..., 1], C, _TEMPERATURE).to(current.dtype)
        query = self.q(current.permute(0, 2, 3, 1) + between).view(-1, 1, self.heads, C // self.heads)

        # The four pixels' indices into all pixels of the batch.
        corners = upper_left.long()[:, :, :, None] + self.window_idx_offset
        first = torch.arange(N, device=flow.device).view(-1, 1, 1, 1) * (H * W)
        index = first + corners[..., 0].clamp(0, H - 1) * W + corners[..., 1].clamp(0, W - 1)

        key = self._read(source, self.k, index)
        value = self._read(source, self.v, index)
        similarity = (query * key).sum(-1, keepdim=True) * (C // self.heads) ** -0.5
        aligned: Tensor = (similarity.softmax(1) * value).sum(1)
        return aligned.view(N, H, W, C).permute(0, 3, 1, 2)

    def _read(self, source: Tensor, projection: nn.Linear, index: Tensor) -> Tensor:
        """Projects the four pixels with the encodings of their places: (N·H·W, 4, heads, C / heads).

        The projection is linear, so every pixel is projected once, not each time it is read.
        """
        pixels = functional.linear(source.permute(0, 2, 3, 1).reshape(-1, self.channels), projection.weight)
        marked: Tensor = pixels[index.view(-1, _SIDE**2)] + projection(self.position_bias)
        return marked.view(-1, _SIDE**2, self.heads, self.channels // self.heads)
