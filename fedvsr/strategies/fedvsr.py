"""FedVSR: high-frequency loss at the clients, loss-aware aggregation at the server.

Mollaahmadi Dehaghi et al., "FedVSR: Towards Model-Agnostic Federated Learning in Video Super-Resolution",
2025, https://arxiv.org/abs/2503.13745.
"""

from collections.abc import Iterable

from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.base import Contribution, RoundContext, Strategy
from fedvsr.strategies.loss_aware import DEFAULT_THRESHOLD, weigh_contributions


class FedVSROptions(Section):
    """The options of FedVSR."""

    threshold: float = Field(
        DEFAULT_THRESHOLD,
        ge=0,
        lt=1,
        description="Hellinger distance below which all clients count the same",
    )


class FedVSR(Strategy):
    """Trains with the high-frequency loss, and weighs the clients by their losses."""

    name = "fedvsr"
    description = "high-frequency loss and adaptive loss-aware aggregation"
    source = (
        "Mollaahmadi Dehaghi et al., FedVSR: Towards Model-Agnostic Federated Learning in Video "
        "Super-Resolution, 2025, https://arxiv.org/abs/2503.13745"
    )
    Options = FedVSROptions
    high_frequency_loss = True
    # Losses differ less than numbers of clips: a client reaches 2 if its loss is a seventh of the others'.
    max_share = 2.0

    options: FedVSROptions

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        return weigh_contributions(contributions, context, self.options.threshold)
