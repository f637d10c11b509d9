"""The settings of a site's Jobs on the site's own cluster, which the chart fedvsr-site writes."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from fedvsr.cluster.settings import Namespace, Part
from fedvsr.errors import ConfigError

SITE_JOB_VARIABLE = "FEDVSR_SITE_JOB"
"""Names the file with the settings of a site's Jobs. If it is set, the agent works by Jobs."""


class SiteJobSettings(Part):
    """Settings of a site's Jobs.

    Attributes:
        namespace: The namespace of the agent and of the Jobs.
        gpu_resource: The extended resource of a GPU.
        max_gpus: The most GPUs that a Job requests, whatever an assignment asks for.
        labels: Labels of the Jobs and their pods.
        pod: The specification of the Jobs' pods: one container with image, command, volumes and resources.
    """

    namespace: Namespace
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1)
    max_gpus: int = Field(1, ge=0)
    labels: dict[str, str] = Field(default_factory=dict)
    pod: dict[str, Any]

    @field_validator("pod")
    @classmethod
    def _has_one_container(cls, pod: dict[str, Any]) -> dict[str, Any]:
        containers = pod.get("containers")
        if not isinstance(containers, list) or len(containers) != 1:
            raise ValueError("it must have exactly one container")
        if not isinstance(containers[0], dict) or not {"name", "image"} <= containers[0].keys():
            raise ValueError("its container must have a name and an image")
        return pod

    @property
    def image(self) -> str:
        """The image of the Jobs' container."""
        return str(self.pod["containers"][0]["image"])


def load_site_job(path: Path) -> SiteJobSettings:
    """Reads the settings of a site's Jobs.

    Raises:
        fedvsr.errors.ConfigError: The file cannot be read or is invalid; the error names the field.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(SITE_JOB_VARIABLE, str(path), f"it must name a YAML file ({reason})") from None
    try:
        return SiteJobSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join([str(path), *(str(part) for part in first["loc"])])
        raise ConfigError(field, None, f"{first['msg']}; the chart fedvsr-site writes this file") from None
