"""The Charbonnier loss: an absolute error that is smooth at zero.

Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging",
ICIP 1994, https://doi.org/10.1109/ICIP.1994.413553.
"""

import torch
from torch import Tensor

from fedvsr.errors import InputError


def charbonnier(prediction: Tensor, target: Tensor, epsilon: float = 1e-9) -> Tensor:
    """Returns mean(sqrt(d² + ε)) with d = prediction − target.

    This is the pixel term of FedVSR's local loss (https://arxiv.org/abs/2503.13745).

    Args:
        prediction: A floating tensor of any shape, in [0, 1] by convention; float16 and bfloat16 are cast to
            float32.
        target: A tensor of the same shape, in [0, 1] by convention.
        epsilon: ε, in squared units of the input. The loss is about quadratic for errors below sqrt(ε).

    Returns:
        A scalar, float32 or float64. If both tensors are equal, it is sqrt(ε), not 0.

    Raises:
        fedvsr.errors.InputError: The shapes differ.
    """
    return mean_charbonnier(subtract(prediction, target), epsilon)


def mean_charbonnier(difference: Tensor, epsilon: float) -> Tensor:
    """Returns mean(sqrt(d² + ε)) of a precomputed difference d."""
    return torch.sqrt(difference.square() + epsilon).mean()


def subtract(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns prediction − target in at least float32.

    Raises:
        fedvsr.errors.InputError: The shapes differ. A plain subtraction would broadcast them.
    """
    if prediction.shape != target.shape:
        raise InputError(
            f"the loss compares tensors of one shape, but the prediction has {tuple(prediction.shape)} "
            f"and the target {tuple(target.shape)}; look at the model's scale and output"
        )
    return at_least_float32(prediction) - at_least_float32(target)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns the tensor itself if it is float32 or float64, otherwise a float32 copy."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
