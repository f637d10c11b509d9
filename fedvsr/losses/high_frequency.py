"""FedVSR's high-frequency loss: the Charbonnier loss of a 3-D Haar transform without its low band.

Mollaahmadi Dehaghi et al., "FedVSR: Towards Model-Agnostic Federated Learning in Video Super-Resolution",
2025, https://arxiv.org/abs/2503.13745, the term L_HiFr.
"""

import math

import torch
from torch import Tensor

from fedvsr.errors import InputError
from fedvsr.losses.charbonnier import at_least_float32, mean_charbonnier, subtract

_TIME, _HEIGHT, _WIDTH = 1, 3, 4
_LOW_BAND = "LLL"


def haar_bands(x: Tensor) -> dict[str, Tensor]:
    """Returns the eight bands of a one-level orthonormal 3-D Haar transform.

    Along time, height and width, a pair (a, b) becomes (a + b)/√2 (low, ``L``) and (a − b)/√2 (high, ``H``).
    On an axis of odd length the last element is repeated: the high part of that pair is zero, every input
    element is used, and a single frame (T = 1) has the bands of a still video. PyWavelets does the same in
    its mode ``symmetric``.

    Args:
        x: (N, T, C, H, W), floating, any range; float16 and bfloat16 are cast to float32.

    Returns:
        Eight tensors (N, ⌈T/2⌉, C, ⌈H/2⌉, ⌈W/2⌉) by name, ``LLL`` … ``HHH``; the letters stand for time,
        height and width.

    Raises:
        fedvsr.errors.InputError: The tensor does not have five dimensions.
    """
    if x.ndim != 5:
        raise InputError(f"the Haar transform takes (N, T, C, H, W), not a tensor of shape {tuple(x.shape)}")
    with torch.autocast(x.device.type, enabled=False):
        # One factor for all three axes, so that each butterfly is only a sum and a difference.
        bands = {"": at_least_float32(x) * math.sqrt(1 / 8)}
        for axis in (_TIME, _HEIGHT, _WIDTH):
            bands = {
                name + letter: half
                for name, band in bands.items()
                for letter, half in zip("LH", _butterfly(band, axis), strict=True)
            }
        return bands


def high_frequency_loss(prediction: Tensor, target: Tensor, epsilon: float = 1e-9) -> Tensor:
    """Returns the Charbonnier loss over the seven high bands of the Haar transform.

    The bands count as one concatenated tensor. The transform is linear, so only the difference of the two
    videos is transformed. The computation is in float32 (float64 for float64 input) also inside an autocast
    region, because this loss measures small differences.

    Args:
        prediction: (N, T, C, H, W), floating, in [0, 1] by convention.
        target: A tensor of the same shape.
        epsilon: ε of the Charbonnier loss.

    Returns:
        A scalar, float32 or float64.

    Raises:
        fedvsr.errors.InputError: The shapes differ, or do not have five dimensions.
    """
    bands = haar_bands(subtract(prediction, target))
    # All bands have the same size, so the mean of their means is the mean of all their elements.
    means = [mean_charbonnier(band, epsilon) for name, band in bands.items() if name != _LOW_BAND]
    return torch.stack(means).mean()


def _butterfly(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    if x.shape[axis] % 2:
        x = torch.cat((x, x.narrow(axis, x.shape[axis] - 1, 1)), axis)
    even, odd = torch.unflatten(x, axis, (-1, 2)).unbind(axis + 1)
    return even + odd, even - odd
