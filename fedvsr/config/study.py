"""The YAML file of `fedvsr study`: a matrix of runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator

from fedvsr.config.base import FieldError, Section
from fedvsr.config.experiment import VideosConfig
from fedvsr.config.run import Name
from fedvsr.config.yaml_file import read_yaml_mapping

Overrides = Mapping[str, JsonValue]
"""Values by dotted field name of the experiment, for example ``federation.rounds``."""

Seed = Annotated[int, Field(ge=0, lt=2**31)]

CENTRAL = "central"
"""The label of the cells that train on all clients' videos in one place."""


class StudyStrategy(Section):
    """A row of the study's tables: what it sets in the experiment, and its seeds."""

    overrides: dict[str, JsonValue] = Field(description="fields of the experiment, by dotted name")
    seeds: tuple[Seed, ...] = Field((), description="its seeds; empty: the study's")


class StudyConfig(Section):
    """A matrix of runs: strategies × the levels of all factors × seeds."""

    name: Name = Field(description="the study's name, and the name of all its runs")
    experiment: Path = Field(description="the YAML file of the experiment that all runs start from")
    overrides: dict[str, JsonValue] = Field(
        default_factory=dict, description="fields of the experiment in all runs, by dotted name"
    )
    seeds: tuple[Seed, ...] = Field(description="the runs' seeds", min_length=1)
    strategies: dict[Name, StudyStrategy] = Field(description="the strategies by label", min_length=1)
    reference: str = Field(description="the strategy that differences are measured from")
    factors: dict[Name, dict[Name, dict[str, JsonValue]]] = Field(
        default_factory=dict, description="factors: their levels, and the fields that a level sets"
    )
    central: bool = Field(True, description="whether to train on all videos in one place too")
    other_domain: VideosConfig | None = Field(
        None, description="more held-out videos, of another kind; scored apart after the last round"
    )
    comparisons: dict[Name, tuple[str, ...]] = Field(
        default_factory=dict, description="a strategy, and the others that it is compared with together"
    )
    target_gain: float = Field(
        1.0, description="dB over bicubic; the study reports what it takes to reach them"
    )

    @model_validator(mode="after")
    def _labels_exist(self) -> Self:
        if CENTRAL in self.strategies:
            raise FieldError("strategies", CENTRAL, "this label is taken: set central: true or false")
        known = f"it must be one of the strategies ({', '.join(self.strategies)})"
        if self.reference not in self.strategies:
            raise FieldError("reference", self.reference, known)
        for label, others in self.comparisons.items():
            for name in (label, *others):
                if name not in self.strategies:
                    raise FieldError(f"comparisons.{label}", name, known)
            if not others or label in others:
                raise FieldError(f"comparisons.{label}", list(others), "name the other strategies")
        for factor, levels in self.factors.items():
            if not levels:
                raise FieldError(f"factors.{factor}", {}, "it must have at least one level")
        seeds = [("seeds", self.seeds)]
        seeds += [(f"strategies.{label}.seeds", entry.seeds) for label, entry in self.strategies.items()]
        for field, values in seeds:
            if len(set(values)) < len(values):
                raise FieldError(field, list(values), "each seed may be there once")
        return self

    def seeds_of(self, label: str) -> tuple[int, ...]:
        """Returns the seeds of a strategy, or of the central training."""
        return (self.strategies[label].seeds if label in self.strategies else ()) or self.seeds


def load_study(path: Path) -> StudyConfig:
    """Reads a study. Relative paths in it are relative to its folder.

    Raises:
        fedvsr.errors.ConfigError: The file cannot be read, or a value is not allowed.
    """
    study = StudyConfig.parse(read_yaml_mapping(path, "STUDY"))
    changes: dict[str, object] = {"experiment": path.parent / study.experiment}
    if study.other_domain:
        folder = str(path.parent / study.other_domain.path)
        changes["other_domain"] = study.other_domain.model_copy(update={"path": folder})
    return study.model_copy(update=changes)
