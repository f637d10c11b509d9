"""site.yaml: a site's videos, its policy and its resources."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import AfterValidator, ByteSize, Field, model_validator

from fedvsr.config.base import FieldError, Section
from fedvsr.errors import ConfigError
from fedvsr.site.hours import DAYS, Hours

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _is_hours(text: str) -> str:
    if text:
        Hours.parse(text)
    return text


def _is_devices(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|\d+(,\d+)*", text):
        raise ValueError('it must be auto, cpu, or numbers of GPUs: "0,1"')
    return text


class Requirements(Section):
    """What a run must promise. A run that does not is declined."""

    secure_aggregation: bool = Field(
        False, description="the federation may see only the sum of the clients' updates"
    )
    differential_privacy: bool = Field(False, description="the run's updates are clipped and noised")


class PolicyConfig(Section):
    """Which work the site accepts, and when."""

    runs: tuple[str, ...] = Field(("*",), description="names or patterns (demo-*) of the runs to accept")
    approve: bool = Field(False, description="each run waits for `fedvsr site approve RUN`")
    strategies: tuple[str, ...] = Field((), description="the strategies to accept; empty: all of fedvsr's")
    models: tuple[str, ...] = Field((), description="the models to accept; empty: all of fedvsr's")
    allow_models: tuple[str, ...] = Field(
        (), description="packages from which models, strategies and degradations may be imported"
    )
    hours: Annotated[str, AfterValidator(_is_hours)] = Field(
        "", description="when it works: 22:00-06:00 Europe/Berlin; empty: always"
    )
    days: tuple[Day, ...] = Field(DAYS, min_length=1, description="the days on which the hours may begin")
    rounds_a_day: int = Field(0, ge=0, description="most rounds of training that begin in a day; 0: no limit")
    minimum_clients: int = Field(1, ge=1, description="fewest clients in a round")
    requires: Requirements = Requirements()

    @property
    def opening_hours(self) -> Hours | None:
        """The hours and days; None if the site always works."""
        if not self.hours and set(self.days) == set(DAYS):
            return None
        return Hours.parse(self.hours or "00:00-00:00", self.days)


class ResourcesConfig(Section):
    """What the site's work may use of the machine."""

    devices: Annotated[str, AfterValidator(_is_devices)] = Field(
        "auto", description="auto, cpu, or numbers of GPUs: 0,1"
    )
    memory: ByteSize = Field(
        ByteSize(0), ge=0, description="most memory of the work, like 16GiB; 0: no limit"
    )
    bandwidth: ByteSize = Field(
        ByteSize(0), ge=0, description="most bytes a second that are sent or read, like 2MiB; 0: no limit"
    )
    minimum_free_disk: ByteSize = Field(
        ByteSize(1 << 30), ge=0, description="no work begins with less free disk than this, like 20GiB"
    )


class SiteSettings(Section):
    """A site's settings, as in site.yaml."""

    videos: Path = Field(description="a folder of videos, or one video; it is only read")
    pattern: str = Field("", description="which videos, as a glob: **/*.mp4; empty: all")
    policy: PolicyConfig = PolicyConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _videos_are_absolute(self) -> "SiteSettings":
        if not self.videos.is_absolute():
            raise FieldError("videos", str(self.videos), "it must be an absolute path")
        return self


def load_settings(path: Path) -> SiteSettings:
    """Reads a site.yaml.

    Raises:
        fedvsr.errors.ConfigError: The file cannot be read, is no YAML, or a field has a wrong value.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError("site.yaml", str(path), f"it cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("site.yaml", str(path), f"it is no YAML: {error}") from None
    return SiteSettings.parse(values)


_TEMPLATE: Final = """\
# The site's settings. The agent reads them when it starts. docs/site.md describes each field.
videos: {videos}
pattern: "{pattern}"
policy:
  runs: ["*"]           # names or patterns of the runs to accept
  approve: false        # true: each run waits for `fedvsr site approve RUN`
  strategies: []        # empty: all of fedvsr's
  models: []            # empty: all of fedvsr's
  allow_models: []      # packages from which foreign code may be imported
  hours: ""             # "22:00-06:00 Europe/Berlin"; empty: always
  days: [mon, tue, wed, thu, fri, sat, sun]
  rounds_a_day: 0       # 0: no limit
  minimum_clients: 1    # fewest clients in a round
  requires:
    secure_aggregation: false
    differential_privacy: false
resources:
  devices: auto         # auto, cpu, or numbers of GPUs: "0,1"
  memory: 0             # most memory of the work, like 16GiB; 0: no limit
  bandwidth: 0          # most bytes a second, like 2MiB; 0: no limit
  minimum_free_disk: 1GiB
"""


def settings_text(videos: Path, pattern: str = "") -> str:
    """Returns the site.yaml of a new site, with every field at its default."""
    return _TEMPLATE.format(videos=yaml.safe_dump(str(videos)).splitlines()[0], pattern=pattern)
