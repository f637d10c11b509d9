"""Guided deformable attention: every pixel attends to its likely positions in two frames.

Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention", NeurIPS 2022,
https://arxiv.org/abs/2206.02146. It is written in plain PyTorch: it runs on any device and needs no
compilation. Modules are named so that the published weights load.
"""

import torch
from torch import Tensor, nn

from fedvsr.models.deform_conv import sample_taps
from fedvsr.models.frame_conv import FrameConv
from fedvsr.models.rvrt_blocks import FeedForward, Permute

PAIR = 2
"""Number of frames of a frame pair. The paper calls it a clip; in fedvsr a clip is the unit of training."""

_KERNEL = (3, 3)
_TAPS = 9
_HIDDEN_CHANNELS = 64
_HIDDEN_LAYERS = 5
_NEGATIVE_SLOPE = 0.1


def deformable_attention(query: Tensor, key: Tensor, value: Tensor, offset: Tensor, heads: int) -> Tensor:
    """Lets every pixel attend to 3 × 3 displaced positions in each of S frames, all in one softmax.

    Keys and values are read at separate positions. The values need 9·S times the query's memory, and so do
    the keys if a gradient is required.

    Args:
        query: (B, C, H, W).
        key: (B, S, C, H, W).
        value: Of the same shape.
        offset: (B, S, 2·G·9, H, W) for an even number G of offset groups: the first half are groups of
            channels of ``key``, the second half of ``value``. The layout for each frame is that of
            `fedvsr.models.deform_conv.deform_conv2d`.
        heads: Number of heads, which share the C channels.

    Returns:
        (B, C, H, W). Beyond the border, keys and values count as zero.
    """
    B, C, H, W = query.shape
    S = key.shape[1]
    per_head = (B, heads, C // heads, _TAPS, H, W)
    key_offset, value_offset = offset.chunk(2, 2)
    scaled = (query * (C // heads) ** -0.5).view(B, heads, C // heads, 1, H, W)
    similarities = []
    for s in range(S):
        keys = sample_taps(key[:, s], key_offset[:, s], _KERNEL).view(per_head)
        similarities.append((scaled * keys).sum(2))
    weights = torch.cat(similarities, 2).softmax(2).to(value.dtype).chunk(S, 2)
    attended = torch.zeros_like(query)
    for s in range(S):
        values = sample_taps(value[:, s], value_offset[:, s], _KERNEL).view(per_head)
        attended = attended + (weights[s][:, :, None] * values).sum(3).view(B, C, H, W)
    return attended


class GuidedDeformableAttention(nn.Module):
    """Aligns a frame pair's features to the next frame pair, guided by the optical flow.

    The offsets are the flow plus a learned residue. Their mean over the taps is an improved flow, from which
    a later pass can start.

    Args:
        channels: Number of channels of the features, C; the attention has twice as many.
        heads: Number of attention heads, a divisor of 2·C.
        groups: Number of offset groups, G; even and a divisor of 4·C.
        maximum_residue: Largest residue, in pixels, per axis.
    """

    def __init__(self, channels: int, heads: int, groups: int, maximum_residue: int) -> None:
        super().__init__()
        self.heads = heads
        self.maximum_residue = maximum_residue
        conditions = (1 + PAIR) * channels + 2 * PAIR
        layers: list[nn.Module] = [FrameConv(conditions, _HIDDEN_CHANNELS, 1), nn.LeakyReLU(_NEGATIVE_SLOPE)]
        for _ in range(_HIDDEN_LAYERS - 1):
            layers += [FrameConv(_HIDDEN_CHANNELS, _HIDDEN_CHANNELS, 3), nn.LeakyReLU(_NEGATIVE_SLOPE)]
        last = FrameConv(_HIDDEN_CHANNELS, PAIR * groups * _TAPS * 2, 1)
        # Zero at first: the offsets are the optical flow.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.conv_offset = nn.Sequential(*layers, last)
        self.proj_q = _pixelwise(nn.Linear(channels, 2 * channels))
        self.proj_k = _pixelwise(nn.Linear(channels, 2 * channels))
        self.proj_v = _pixelwise(nn.Linear(channels, 2 * channels))
        self.proj = _pixelwise(nn.Linear(2 * channels, channels))
        self.mlp = _pixelwise(FeedForward(channels, 2 * channels))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        warped: tuple[Tensor, Tensor],
        flows: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Aligns the features of the previous frame pair to a frame pair.

        Args:
            query: (N, 2, C, h, w): the frame pair to align to.
            key: (N, 2, C, h, w): the previous frame pair, from the same pass as the query.
            value: (N, 2, C, h, w): the features of the previous frame pair to align.
            warped: ``value`` warped along ``flows``.
            flows: Two tensors (N, 2, 2, h, w) in pixels; channel 0 points right, channel 1 down. They lead
                from each frame of the pair to the frame at the same position in the previous pair, and to the
                other frame.

        Returns:
            The aligned features (N, 2, C, h, w), and the improved flows.
        """
        condition = torch.cat((query, *warped, *flows), 2)
        residue = self.maximum_residue * torch.tanh(self.conv_offset(condition))
        # Flows are (right, down), offsets (down, right) for every tap of every group.
        same, other = (
            part + flow.flip(2).repeat(1, 1, part.shape[2] // 2, 1, 1)
            for part, flow in zip(residue.chunk(2, 2), flows, strict=True)
        )
        attended = deformable_attention(
            self.proj_q(query).flatten(0, 1),
            _for_each_frame(self.proj_k(key)),
            _for_each_frame(self.proj_v(value)),
            torch.stack((same, other), 2).flatten(0, 1),
            self.heads,
        )
        aligned = self.proj(attended.view(*query.shape[:2], *attended.shape[1:]))
        return aligned + self.mlp(aligned), (_mean_flow(same), _mean_flow(other))


def _for_each_frame(pair: Tensor) -> Tensor:
    """Maps (N, 2, C, h, w) to (2·N, 2, C, h, w): per position, that frame, then the other one."""
    return torch.stack((pair, pair.flip(1)), 2).flatten(0, 1)


def _mean_flow(offset: Tensor) -> Tensor:
    """Maps offsets (N, 2, 2·G·9, h, w), down and right, to a flow (N, 2, 2, h, w), right and down."""
    N, T, parts, h, w = offset.shape
    return offset.view(N, T, parts // 2, 2, h, w).mean(2).flip(2)


def _pixelwise(layer: nn.Module) -> nn.Sequential:
    """Applies a layer that expects the channels last to (N, T, C, h, w)."""
    return nn.Sequential(Permute(0, 1, 3, 4, 2), layer, Permute(0, 1, 4, 2, 3))
