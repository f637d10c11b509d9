"""Yogi at the server, known as FedYogi: v ← v − (1 − β₂)·Δ²·sign(v − Δ²).

v moves by at most (1 − β₂)·Δ² in a round, so a few small changes do not make the next steps large.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

import numpy as np

from fedvsr.server_optimisers.adaptive import AdaptiveOptimiser, DecayingOptions
from fedvsr.server_optimisers.base import FloatArray


class YogiOptions(DecayingOptions):
    """The options of Yogi at the server."""


class Yogi(AdaptiveOptimiser):
    """Moves the second moment towards the squared changes by an amount that does not depend on itself."""

    name = "yogi"
    description = "Yogi over the rounds' changes"
    Options = YogiOptions

    options: YogiOptions

    def second_moment(self, before: FloatArray, squares: FloatArray) -> FloatArray:
        moved: FloatArray = before - (1 - self.options.beta2) * squares * np.sign(before - squares)
        return moved
