"""Adagrad at the server, known as FedAdagrad: v ← v + Δ².

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295. β₁ = 0 in their
experiments with it, which is the default here.
"""

from pydantic import Field

from fedvsr.server_optimisers.adaptive import AdaptiveOptimiser, AdaptiveOptions
from fedvsr.server_optimisers.base import FloatArray


class AdagradOptions(AdaptiveOptions):
    """The options of Adagrad at the server."""

    beta1: float = Field(0.0, ge=0, lt=1, description="decay rate of the changes' mean (β₁)")


class Adagrad(AdaptiveOptimiser):
    """Adds up the squared changes, so steps become smaller from round to round."""

    name = "adagrad"
    description = "Adagrad over the rounds' changes"
    Options = AdagradOptions

    options: AdagradOptions

    def second_moment(self, before: FloatArray, squares: FloatArray) -> FloatArray:
        return before + squares
