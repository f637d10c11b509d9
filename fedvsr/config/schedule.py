"""How the learning rate changes over a run."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fedvsr.config.base import FieldError, Section


class ScheduleConfig(Section):
    """The learning rate over a run, as shares of its rounds: see `fedvsr.training.schedule`."""

    name: Literal["constant", "linear", "cosine", "cosine-restarts"] = Field(
        "constant", description="how the learning rate falls over the run"
    )
    warmup_share: float = Field(
        0.0, ge=0, lt=1, description="share of the run in which the learning rate rises from 0"
    )
    final_factor: float = Field(
        0.01, ge=0, le=1, description="share of the learning rate that is left at the end"
    )
    hold_share: float = Field(
        0.0, ge=0, lt=1, description="linear: share of the run before the learning rate begins to fall"
    )
    restarts: int = Field(
        1, ge=1, description="how often cosine-restarts begins again at the full learning rate"
    )

    @property
    def is_constant(self) -> bool:
        """Whether the learning rate is the same in all steps, whatever the number of rounds."""
        return self.name == "constant" and not self.warmup_share

    @model_validator(mode="after")
    def _settings_of_the_schedule(self) -> Self:
        """Refuses a setting that the schedule does not use: it would change nothing."""
        uses = {
            "final_factor": self.name != "constant",
            "hold_share": self.name == "linear",
            "restarts": self.name == "cosine-restarts",
        }
        for setting, is_used in uses.items():
            value = getattr(self, setting)
            if not is_used and value != type(self).model_fields[setting].default:
                raise FieldError(
                    f"training.schedule.{setting}", value, f"the schedule {self.name} has no {setting}"
                )
        return self
