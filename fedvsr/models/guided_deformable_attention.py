"""Guided deformable attention: every pixel attends to its probable positions in two frames.

Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention", NeurIPS 2022,
https://arxiv.org/abs/2206.02146. Written in plain PyTorch: it runs on any device and nothing is compiled.
Modules are named so that the published weights load.
"""

import torch
from torch import Tensor, nn

from fedvsr.models.deform_conv import sample_taps
from fedvsr.models.frame_conv import FrameConv
from fedvsr.models.rvrt_blocks import FeedForward, Permute

CLIP = 2
"""Frames of a clip: this many frames are aligned at once with this many others."""

_KERNEL = (3, 3)
_TAPS = 9
_HIDDEN_CHANNELS = 64
_HIDDEN_LAYERS = 5
_SLOPE = 0.1


def deformable_attention(query: Tensor, key: Tensor, value: Tensor, offset: Tensor, heads: int) -> Tensor:
    """Lets every pixel attend to 3 × 3 displaced positions in each of S frames, all in one softmax.

    Keys and values are read at positions of their own. The values that are read need 9·S times the query's
    memory, and the keys as much if a gradient is required.

    Args:
        query: (B, C, H, W).
        key: (B, S, C, H, W).
        value: Of the same shape.
        offset: (B, S, 2·G·9, H, W) for an even number G of groups of channels that move together, half
            of them groups of ``key`` and the others of ``value``; laid out for each frame as
            `fedvsr.models.deform_conv.deform_conv2d` says.
        heads: How many heads share the C channels.

    Returns:
        (B, C, H, W). Beyond the border keys and values count as zero.
    """
    B, C, H, W = query.shape
    S = key.shape[1]
    apart = (B, heads, C // heads, _TAPS, H, W)
    key_offset, value_offset = offset.chunk(2, 2)
    scaled = (query * (C // heads) ** -0.5).view(B, heads, C // heads, 1, H, W)
    similarities = []
    for s in range(S):
        keys = sample_taps(key[:, s], key_offset[:, s], _KERNEL).view(apart)
        similarities.append((scaled * keys).sum(2))
    weights = torch.cat(similarities, 2).softmax(2).to(value.dtype).chunk(S, 2)
    attended = torch.zeros_like(query)
    for s in range(S):
        values = sample_taps(value[:, s], value_offset[:, s], _KERNEL).view(apart)
        attended = attended + (weights[s][:, :, None] * values).sum(3).view(B, C, H, W)
    return attended


class GuidedDeformableAttention(nn.Module):
    """Moves a clip's features to where they are in the next clip, guided by the optical flow.

    Offsets are the flow and a learnt residue. Their mean over the taps is a better flow, which a later
    pass can start from.

    Args:
        channels: C of the features; inside, the attention has twice as many.
        heads: A divisor of 2·C.
        groups: Offset groups G, even and a divisor of 4·C.
        maximum_residue: How many pixels an offset may differ from the optical flow.
    """

    def __init__(self, channels: int, heads: int, groups: int, maximum_residue: int) -> None:
        super().__init__()
        self.heads = heads
        self.maximum_residue = maximum_residue
        conditions = (1 + CLIP) * channels + 2 * CLIP
        layers: list[nn.Module] = [FrameConv(conditions, _HIDDEN_CHANNELS, 1), nn.LeakyReLU(_SLOPE)]
        for _ in range(_HIDDEN_LAYERS - 1):
            layers += [FrameConv(_HIDDEN_CHANNELS, _HIDDEN_CHANNELS, 3), nn.LeakyReLU(_SLOPE)]
        last = FrameConv(_HIDDEN_CHANNELS, CLIP * groups * _TAPS * 2, 1)
        # At first the offsets are the optical flow.
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
        """Aligns a clip's features with the next clip.

        Args:
            query: (N, 2, C, h, w): the clip to align to.
            key: (N, 2, C, h, w): the clip before it, from the same pass as the query.
            value: (N, 2, C, h, w): the features of the clip before, which are aligned.
            warped: ``value`` moved along ``flows``.
            flows: (N, 2, 2, h, w) each, in pixels, channel 0 to the right: from each frame of the clip to
                the frame with the same number in the clip before; and to the frame with the other one.

        Returns:
            The aligned features (N, 2, C, h, w) and the better flows.
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
            _sources(self.proj_k(key)),
            _sources(self.proj_v(value)),
            torch.stack((same, other), 2).flatten(0, 1),
            self.heads,
        )
        aligned = self.proj(attended.view(*query.shape[:2], *attended.shape[1:]))
        return aligned + self.mlp(aligned), (_mean_flow(same), _mean_flow(other))


def _sources(clip: Tensor) -> Tensor:
    """Maps (N, 2, C, h, w) to (2·N, 2, C, h, w): for each frame the one with its number, then the other."""
    return torch.stack((clip, clip.flip(1)), 2).flatten(0, 1)


def _mean_flow(offset: Tensor) -> Tensor:
    """Maps offsets (N, 2, 2·G·9, h, w), down and right, to a flow (N, 2, 2, h, w), right and down."""
    N, T, parts, h, w = offset.shape
    return offset.view(N, T, parts // 2, 2, h, w).mean(2).flip(2)


def _pixelwise(layer: nn.Module) -> nn.Sequential:
    """Applies a layer that wants the channels last to (N, T, C, h, w)."""
    return nn.Sequential(Permute(0, 1, 3, 4, 2), layer, Permute(0, 1, 4, 2, 3))
