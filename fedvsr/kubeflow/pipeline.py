"""The pipeline in KFP: a version for every package that was uploaded."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fedvsr import __version__
from fedvsr.errors import InputError
from fedvsr.kubeflow.connection import Connection

DEFAULT_NAMESPACE = "fedvsr"
_PIPELINE = "federated-training"
_DIGITS = 12


def pipeline_name(namespace: str) -> str:
    """Returns the name of a deployment's pipeline. Deployments that share a KFP have one pipeline each."""
    return _PIPELINE if namespace == DEFAULT_NAMESPACE else f"{_PIPELINE}-{namespace}"


@dataclass(frozen=True)
class PipelineVersion:
    """A version of the pipeline.

    Attributes:
        name: fedvsr's version and a digest of the package, whose images are in it.
        pipeline_id: The pipeline's id in KFP.
        version_id: Its own id.
    """

    name: str
    pipeline_id: str
    version_id: str


def upload(
    connection: Connection, pipeline: str, package: bytes, description: str
) -> tuple[PipelineVersion, bool]:
    """Makes a package the newest version of the pipeline, which runs are made from.

    Args:
        connection: The KFP.
        pipeline: The pipeline's name, made where there is none.
        package: The compiled pipeline.
        description: What a person reads beside it in the UI.

    Returns:
        The version, and whether it is a new one: a package that is the newest already changes nothing.
    """
    name = f"{__version__}-{hashlib.sha256(package).hexdigest()[:_DIGITS]}"
    found = connection.find(_by_name(pipeline)) or connection.post(
        "/pipelines", {"name": pipeline, "display_name": pipeline, "description": description}
    )
    pipeline_id = found["pipeline_id"]
    known = list(_versions(connection, pipeline_id))
    same = [each for each in known if each.name.partition("+")[0] == name]
    if same and same[0] is known[0]:
        return known[0], False
    made = connection.upload(
        "/pipelines/upload_version",
        package,
        # A name is given once, and an older package may come again after a newer one.
        name=f"{name}+{len(same)}" if same else name,
        pipelineid=pipeline_id,
        description=description,
    )
    return _version(made), True


def newest(connection: Connection, pipeline: str) -> PipelineVersion:
    """Returns the version of a pipeline that was uploaded last.

    Raises:
        fedvsr.errors.InputError: There is none.
    """
    found = connection.find(_by_name(pipeline))
    version = next(_versions(connection, found["pipeline_id"]), None) if found else None
    if version is None:
        raise InputError(
            f"KFP at {connection.endpoint} has no pipeline {pipeline!r}; `make deploy` uploads it, and "
            "--namespace or FEDVSR_NAMESPACE names the deployment that it is of"
        )
    return version


def _by_name(pipeline: str) -> str:
    return f"/pipelines/names/{quote(pipeline, safe='')}"


def _versions(connection: Connection, pipeline_id: str) -> Iterator[PipelineVersion]:
    """The pipeline's versions, the newest first."""
    path = f"/pipelines/{pipeline_id}/versions"
    return map(_version, connection.pages(path, "pipeline_versions", sort_by="created_at desc"))


def _version(found: Mapping[str, Any]) -> PipelineVersion:
    return PipelineVersion(found["display_name"], found["pipeline_id"], found["pipeline_version_id"])
