"""FedVSR (arXiv 2503.13745): high-frequency loss at the clients, loss-aware aggregation."""

from collections.abc import Iterable

from fedvsr.errors import ConfigError
from fedvsr.strategies.base import Contribution, RoundContext, Strategy
from fedvsr.strategies.loss_aware import THRESHOLD, weigh_by_loss


class FedVSR(Strategy):
    """Clients train with L_HiFr; the server weighs them by their losses.

    Args:
        threshold: The Hellinger distance under which all clients count the same.
    """

    name = "fedvsr"
    description = "high-frequency loss and adaptive loss-aware aggregation (option: threshold)"
    high_frequency_loss = True

    def __init__(self, threshold: float = THRESHOLD) -> None:
        if not 0 <= threshold < 1:
            raise ConfigError(
                "strategy.options.threshold", threshold, "it must be at least 0 and less than 1"
            )
        self.threshold = threshold

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        return weigh_by_loss(contributions, context, self.threshold)
