"""What FedAdam, FedYogi and FedAdagrad share: algorithm 2 of Reddi et al.

Element by element: m ← β₁·m + (1 − β₁)·Δ; v as the method has it; w ← w + η·m/(√v + τ). As in the paper, m
and v have no bias correction. The paper asks for a first v of at least τ²; here it is τ².

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

from abc import abstractmethod

import numpy as np
from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.server_optimisers.base import FloatArray, ServerOptimiser

_FIRST, _SECOND = "first_moment", "second_moment"
SOURCE = "Reddi et al., Adaptive Federated Optimization, ICLR 2021, https://arxiv.org/abs/2003.00295"


class AdaptiveOptions(Section):
    """The options that the adaptive server optimisers share."""

    learning_rate: float = Field(1e-2, gt=0, description="size of the server's step (η)")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay rate of the changes' mean (β₁)")
    tau: float = Field(
        1e-3, gt=0, description="degree of adaptivity (τ): the smaller, the more alike all parameters' steps"
    )


class DecayingOptions(AdaptiveOptions):
    """The options of the adaptive server optimisers whose second moment decays."""

    beta2: float = Field(0.99, ge=0, lt=1, description="decay rate of the changes' mean square (β₂)")


class AdaptiveOptimiser(ServerOptimiser):
    """Divides each element's mean change by the root of its second moment."""

    source = SOURCE
    moments = (_FIRST, _SECOND)

    options: AdaptiveOptions

    def first_value(self, moment: str) -> float:
        return self.options.tau**2 if moment == _SECOND else 0.0

    @abstractmethod
    def second_moment(self, before: FloatArray, squares: FloatArray) -> FloatArray:
        """Returns the new v.

        Args:
            before: v after the previous round.
            squares: Δ².
        """

    def step(self, change: FloatArray, moments: dict[str, FloatArray]) -> FloatArray:
        options = self.options
        mean = moments[_FIRST] = options.beta1 * moments[_FIRST] + (1 - options.beta1) * change
        second = moments[_SECOND] = self.second_moment(moments[_SECOND], np.square(change))
        return options.learning_rate * mean / (np.sqrt(second) + options.tau)
