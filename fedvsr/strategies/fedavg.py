"""FedAvg: the mean of the clients' weights, weighted by number of clips or samples.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
https://arxiv.org/abs/1602.05629.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.base import Contribution, RoundContext, Strategy


class FedAvgOptions(Section):
    """The options of FedAvg, and of the strategies that aggregate as it does."""

    weigh_by: Literal["clips", "samples"] = Field(
        "clips",
        description="what a client counts by: the clips that it has, or the patches that it trained on",
    )


class FedAvg(Strategy):
    """Weighs the clients by their numbers of clips, as `Strategy` does by default, or of samples.

    The paper weighs by training examples. The number of samples is that of a round, so it grows with the
    client's local epochs and, in an epoch of frames, with the lengths of its clips.
    """

    name = "fedavg"
    description = "mean of the clients' weights, by number of clips"
    source = (
        "McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, "
        "AISTATS 2017, https://arxiv.org/abs/1602.05629"
    )
    Options: ClassVar[type[Section]] = FedAvgOptions

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        # A subclass may have options of its own without this one.
        if not isinstance(self.options, FedAvgOptions) or self.options.weigh_by == "clips":
            return super().weigh(contributions, context)
        samples = {contribution.client: contribution.samples for contribution in contributions}
        total = sum(samples.values())
        return {client: count / total for client, count in samples.items()}, {}
