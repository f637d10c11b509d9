"""Momentum at the server, known as FedAvgM.

m ← β·m + Δ and w ← w + η·m, or with Nesterov's momentum w ← w + η·(Δ + β·m). With β = 0 and η = 1 the new
weights are the aggregate. With ``by_participation``, a round in which few of its clients delivered has a
smaller β: its change has more noise, and a large β would carry it on.

Hsu et al., "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
2019, https://arxiv.org/abs/1909.06335.
"""

from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.server_optimisers.base import FloatArray, ServerOptimiser

_MOMENTUM = "momentum"


class MomentumOptions(Section):
    """The options of momentum."""

    learning_rate: float = Field(1.0, gt=0, description="size of the server's step (η)")
    beta: float = Field(0.9, ge=0, lt=1, description="share of the momentum that is kept (β)")
    nesterov: bool = Field(False, description="whether the step looks ahead by one momentum")
    by_participation: bool = Field(
        False, description="whether β is multiplied by the share of the round's clients that delivered"
    )


class Momentum(ServerOptimiser):
    """Adds up the changes of earlier rounds, each smaller by β a round."""

    name = "momentum"
    description = "momentum over the rounds' changes"
    source = (
        "Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual "
        "Classification, 2019, https://arxiv.org/abs/1909.06335"
    )
    Options = MomentumOptions
    moments = (_MOMENTUM,)

    options: MomentumOptions

    def for_round(self, participation: float) -> "Momentum":
        options = self.options
        if not options.by_participation:
            return self
        return Momentum(options.model_copy(update={"beta": options.beta * participation}))

    def step(self, change: FloatArray, moments: dict[str, FloatArray]) -> FloatArray:
        options = self.options
        momentum = moments[_MOMENTUM] = options.beta * moments[_MOMENTUM] + change
        direction = change + options.beta * momentum if options.nesterov else momentum
        return options.learning_rate * direction
