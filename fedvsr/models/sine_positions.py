"""Positions as sines and cosines of many wavelengths.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, https://arxiv.org/abs/1706.03762; in two
dimensions as in Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020,
https://arxiv.org/abs/2005.12872.
"""

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to the length by which a position is divided."""


def encode_positions(rows: Tensor, columns: Tensor, channels: int, temperature: float) -> Tensor:
    """Encodes positions in a plane as sines and cosines.

    Args:
        rows: (…), as angles; the whole length of the axis is 2π.
        columns: Of the same shape.
        channels: Number of channels, a multiple of 4.
        temperature: The ratio between the longest and the shortest wavelength; below 1 the later
            channels are the faster ones.

    Returns:
        (…, channels): the first half encodes the rows, the second the columns; sine and cosine alternate.
    """
    half = channels // 2
    exponent = 2 * torch.arange(half // 2, device=rows.device, dtype=torch.float32) / half
    angles = torch.stack((rows, columns), -1)[..., None] / temperature**exponent
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-3)
