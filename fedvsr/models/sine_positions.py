"""Positions as sines and cosines of many wavelengths.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, in two dimensions as Carion et al. 2020 have it.
"""

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to the extent by which a position is divided."""


def encode_positions(rows: Tensor, columns: Tensor, channels: int, temperature: float) -> Tensor:
    """Encodes positions in a plane.

    Args:
        rows: (…) as angles, once around for the whole extent.
        columns: Of the same shape.
        channels: How many to spend: a multiple of 4.
        temperature: The ratio between the longest and the shortest wavelength; below 1 the later
            channels are the faster ones.

    Returns:
        (…, channels), the first half for the rows; sine and cosine alternate.
    """
    half = channels // 2
    exponent = 2 * torch.arange(half // 2, device=rows.device, dtype=torch.float32) / half
    angles = torch.stack((rows, columns), -1)[..., None] / temperature**exponent
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-3)
