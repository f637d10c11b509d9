"""The YAML file of `fedvsr run`: a run, its videos, its store and its MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fedvsr.config.base import FieldError, PathSection, Section
from fedvsr.config.mlflow_names import ExperimentName, RegisteredModelName
from fedvsr.config.run import Name, RunConfig
from fedvsr.config.yaml_file import read_yaml_mapping
from fedvsr.errors import ConfigError


class VideosConfig(PathSection):
    """A video, or the videos in a folder."""

    path: str = Field(description="a video, or a folder of videos or of frame folders")
    pattern: str = Field("", description="take only what matches, for example train_*.mp4")


class SplitConfig(Section):
    """A folder of videos that is split among virtual clients."""

    path: str = Field(description="the folder of videos")
    pattern: str = Field("", description="take only what matches, for example train_*.mp4")
    count: int = Field(ge=1, description="number of clients")
    scheme: Literal["equal", "quantity-skew", "dirichlet"] = Field(
        "equal", description="how videos are split"
    )
    alpha: float = Field(0.1, gt=0, description="skew of quantity-skew, concentration of dirichlet")
    unit: Literal["videos", "frames"] = Field(
        "videos",
        exclude_if=lambda unit: unit == "videos",
        description="what shares count: whole videos, or frames, so that a video may be divided",
    )
    labels: str = Field("", description="for dirichlet: a CSV file of video,label")

    @model_validator(mode="after")
    def _labels_are_of_whole_videos(self) -> Self:
        if self.unit == "frames" and self.scheme == "dirichlet":
            raise FieldError(
                "clients.split.unit", "frames", "dirichlet divides whole videos by their labels: set videos"
            )
        return self


class ClientsConfig(Section):
    """The clients of a federation on this machine: named one by one, or created by splitting a folder."""

    videos: dict[Name, VideosConfig] = Field(
        default_factory=dict, description="each client's videos: NAME=PATH"
    )
    split: SplitConfig | None = Field(None, description="split one folder among virtual clients")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if self.videos and self.split:
            raise FieldError("clients.split", "set", "set clients.videos or clients.split, not both")
        return self


class TrackingConfig(Section):
    """Where MLflow records the run."""

    uri: str = Field(
        "", description="address of MLflow; if empty, MLFLOW_TRACKING_URI, or else SQLite in store"
    )
    experiment: ExperimentName = Field("fedvsr", description="MLflow experiment")
    registered_model: RegisteredModelName = Field("fedvsr", description="MLflow registered model")


class Experiment(RunConfig):
    """A run with its videos, its store and its MLflow."""

    clients: ClientsConfig = ClientsConfig()
    evaluation_videos: VideosConfig | None = Field(None, description="the held-out videos")
    store: str = Field(
        "runs", description="store of runs, shards and results: a folder or s3://BUCKET/PREFIX"
    )
    tracking: TrackingConfig = TrackingConfig()

    def run_config(self, clients: tuple[str, ...]) -> RunConfig:
        """Returns the configuration of the run alone, with its clients' names filled in."""
        values = self.model_dump(include=set(RunConfig.model_fields))
        values["federation"]["clients"] = clients
        return RunConfig.parse(values)


def load_experiment(
    path: Path | None, overrides: Mapping[str | tuple[str, ...], Any] | None = None
) -> Experiment:
    """Reads an experiment. Relative paths in the file are relative to the file's folder.

    Args:
        path: The YAML file; None if the overrides set every field.
        overrides: Values that replace those of the file, by dotted field name. The name is a tuple of its
            parts if a part contains a dot. Paths in overrides are relative to the working folder.

    Raises:
        fedvsr.errors.ConfigError: The file is missing or not a YAML mapping, or a value is not allowed.
    """
    values = _read(path) if path else {}
    for name, value in (overrides or {}).items():
        _set_field(values, name, value)
    return Experiment.parse(values)


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml_mapping(path, "CONFIG")
    _resolve_paths(values, path.parent)
    if isinstance(values.get("evaluation_videos"), str):
        # A plain path stands for the section, so that overrides can set the section's other fields.
        values["evaluation_videos"] = {"path": values["evaluation_videos"]}
    return values


def _resolve_paths(values: dict[str, Any], folder: Path) -> None:
    """Resolves relative paths of videos and of pretrained weights against the file's folder."""
    holders: list[tuple[Any, tuple[str, ...]]] = [(values, ("evaluation_videos",))]
    clients = values.get("clients")
    if isinstance(clients, dict):
        holders.append((clients.get("split"), ("path", "labels")))
        if isinstance(clients.get("videos"), dict):
            holders.append((clients["videos"], tuple(clients["videos"])))
    training = values.get("training")
    if isinstance(training, dict) and isinstance(training.get("pretrained"), dict):
        holders.append((training["pretrained"], tuple(training["pretrained"])))
    for holder, keys in holders:
        for key in keys if isinstance(holder, dict) else ():
            # A path, or a section with a path.
            mapping, field = (holder[key], "path") if isinstance(holder.get(key), dict) else (holder, key)
            if isinstance(mapping.get(field), str) and mapping[field]:
                mapping[field] = str(folder / mapping[field])


def _set_field(values: dict[str, Any], name: str | tuple[str, ...], value: object) -> None:
    *sections, leaf = name.split(".") if isinstance(name, str) else name
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        inner = values[section]
        if not isinstance(inner, dict):
            raise ConfigError(section, inner, "it must be a mapping of fields")
        values = inner
    values[leaf] = value
