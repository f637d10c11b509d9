"""FedAvg (McMahan et al., 2017): the mean of the clients' weights by number of clips."""

from collections.abc import Iterable

from fedvsr.strategies.base import Contribution, RoundContext, Strategy


class FedAvg(Strategy):
    """A client counts by the number of clips it has."""

    name = "fedavg"
    description = "mean of the clients' weights, by number of clips"

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        clips = {each.client: each.clips for each in contributions}
        total = sum(clips.values())
        return {client: count / total for client, count in clips.items()}, {}
