"""Adam at the server, known as FedAdam: v ← β₂·v + (1 − β₂)·Δ².

Flower 1.42 differs from the paper: its FedAdam starts from v = 0, and multiplies η in round t by
√(1 − β₂^(t+1))/(1 − β₁^(t+1)). Its FedYogi and FedAdagrad start from v = 0 too.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

from fedvsr.server_optimisers.adaptive import AdaptiveOptimiser, DecayingOptions
from fedvsr.server_optimisers.base import FloatArray


class AdamOptions(DecayingOptions):
    """The options of Adam at the server."""


class Adam(AdaptiveOptimiser):
    """Keeps a decaying mean of the squared changes."""

    name = "adam"
    description = "Adam over the rounds' changes"
    Options = AdamOptions

    options: AdamOptions

    def second_moment(self, before: FloatArray, squares: FloatArray) -> FloatArray:
        return self.options.beta2 * before + (1 - self.options.beta2) * squares
