"""How a run protects the clients' updates: secure aggregation and differential privacy."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fedvsr.config.base import FieldError, Section


class PrivacyConfig(Section):
    """What the server, and whoever has the model, may learn about a client."""

    secure_aggregation: bool = Field(
        False, description="whether the server learns only the sum of the updates, and no single one"
    )
    threshold: float = Field(
        2 / 3, gt=0.5, le=1, description="share of a round's clients that must stay until the sum is open"
    )
    phase_seconds: int = Field(
        300, ge=1, description="how long a phase of secure aggregation waits for a client, after its training"
    )
    norm_bound: float = Field(
        0, ge=0, description="largest L2 norm of an update that a client sends; 0: no bound"
    )
    differential_privacy: bool = Field(False, description="whether updates are clipped and noise is added")
    clipping: Literal["fixed", "adaptive"] = Field(
        "fixed", description="whether the clipping norm stays, or follows a quantile of the updates' norms"
    )
    clipping_norm: float = Field(
        1.0, gt=0, description="largest L2 norm of an update; adaptive: of the first round"
    )
    clipping_quantile: float = Field(
        0.5, gt=0, lt=1, description="adaptive: the share of updates that need no clipping"
    )
    noise_multiplier: float = Field(
        1.0, gt=0, description="the noise's standard deviation, divided by the clipping norm"
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="the probability δ for which ε need not hold")
    epsilon: float = Field(0, ge=0, description="the budget ε at which the run stops; 0: none")

    @model_validator(mode="after")
    def _parts_that_are_on(self) -> Self:
        if self.epsilon and not self.differential_privacy:
            raise FieldError(
                "privacy.epsilon", self.epsilon, "a budget needs privacy.differential_privacy: true"
            )
        if self.norm_bound and self.differential_privacy:
            raise FieldError(
                "privacy.norm_bound",
                self.norm_bound,
                "differential privacy has a bound of its own: set privacy.clipping_norm",
            )
        return self
