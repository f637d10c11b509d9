"""What the server makes of a round's aggregate."""

from typing import Final, Self

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

    @model_validator(mode="after")
    def _options_of_an_optimiser(self) -> Self:
        if self.options and self.optimiser == NO_OPTIMISER:
            raise FieldError("server.options", self.options, "they need a server.optimiser")
        return self
