"""What the server makes of a round's aggregate."""

import math
from typing import Final, Literal, Self

from pydantic import Field, JsonValue, model_validator

from fedvsr.config.base import FieldError, Section

NO_OPTIMISER: Final = "none"
"""The name for no server optimiser: the aggregate becomes the global weights."""


class ServerConfig(Section):
    """How the server steps from the base weights towards a round's aggregate."""

    optimiser: str = Field(NO_OPTIMISER, description="server optimiser, or none")
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="the server optimiser's own options"
    )

    averaging: Literal["none", "exponential", "uniform"] = Field(
        "none", description="how the global weights of several rounds are averaged, beside the training"
    )
    averaging_decay: float = Field(
        0.8, gt=0, lt=1, description="exponential: how much less the round before counts"
    )
    averaging_start: float = Field(
        0.5, ge=0, lt=1, description="uniform: share of the rounds after which the average begins"
    )

    def averaged_rounds(self, round_number: int, rounds: int) -> int:
        """Returns over how many rounds, up to and including this one, the weights are averaged.

        Args:
            round_number: The round, from 1 to ``rounds``.
            rounds: Number of rounds of the run.
        """
        match self.averaging:
            case "none":
                return 0
            case "exponential":
                return round_number
            case "uniform":
                return max(0, round_number - math.floor(self.averaging_start * rounds))

    def newest_share(self, averaged_rounds: int) -> float:
        """Returns the newest round's share of an average over a number of rounds, at least 1; in (0, 1]."""
        if self.averaging == "uniform":
            return 1 / averaged_rounds
        # The rounds' shares are in proportion to 1, d, d², …, and sum to 1.
        return (1 - self.averaging_decay) / (1 - self.averaging_decay**averaged_rounds)

    @model_validator(mode="after")
    def _options_of_an_optimiser(self) -> Self:
        if self.options and self.optimiser == NO_OPTIMISER:
            raise FieldError("server.options", self.options, "they need a server.optimiser")
        return self

    @model_validator(mode="after")
    def _settings_of_the_averaging(self) -> Self:
        """Refuses a setting that the averaging does not use: it would change nothing."""
        for setting, averaging in (("averaging_decay", "exponential"), ("averaging_start", "uniform")):
            value = getattr(self, setting)
            if self.averaging != averaging and value != type(self).model_fields[setting].default:
                raise FieldError(f"server.{setting}", value, f"it needs server.averaging: {averaging}")
        return self
