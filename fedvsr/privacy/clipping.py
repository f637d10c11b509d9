"""Clipping of updates to a largest L2 norm, so that no client can change the sum by more.

The norm is that of the difference between a client's weights and the weights that it was sent, over all
floating-point tensors together. Integer and boolean buffers have no norm: with differential privacy, they
keep the values of the global weights.

Adaptive clipping follows a quantile γ of the updates' norms: C ← C·exp(−η·(b̃ − γ)), with the noisy share b̃ of
the updates that needed no clipping. Source: Andrew et al., "Differentially Private Learning with Adaptive
Clipping", NeurIPS 2021, https://arxiv.org/abs/1905.03871.
"""

import math
from collections.abc import Iterable

import numpy as np

from fedvsr.weights import Array, Tensors

# η, as in the paper's experiments.
_LEARNING_RATE = 0.2


def norm_of(arrays: Iterable[Array]) -> float:
    """Returns the L2 norm of all floating-point arrays together, added up in float64."""
    squares = (
        float(np.square(array, dtype=np.float64).sum())
        for array in arrays
        if np.issubdtype(array.dtype, np.floating)
    )
    return math.sqrt(math.fsum(squares))


def clip_factor(norm: float, max_norm: float) -> float:
    """Returns min(1, max_norm/norm), the factor that an update is multiplied with."""
    return 1.0 if norm <= max_norm else max_norm / norm


def clip_weights(weights: Tensors, sent: Tensors, factor: float) -> dict[str, Array]:
    """Returns weights whose differences from the sent weights are multiplied with a factor.

    Args:
        weights: The client's weights.
        sent: The weights that it started from.
        factor: See `clip_factor`.
    """
    clipped: dict[str, Array] = {}
    for name, array in weights.items():
        if factor < 1 and np.issubdtype(array.dtype, np.floating):
            start = sent[name].astype(np.float64)
            clipped[name] = (start + factor * (array.astype(np.float64) - start)).astype(array.dtype)
        else:
            clipped[name] = array
    return clipped


def next_clipping_norm(norm: float, unclipped: float, quantile: float) -> float:
    """Returns the clipping norm of the next round.

    Args:
        norm: This round's clipping norm.
        unclipped: The noisy share of the updates that needed no clipping.
        quantile: The share that should need none, γ.
    """
    return norm * math.exp(-_LEARNING_RATE * (unclipped - quantile))
