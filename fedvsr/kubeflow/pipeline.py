"""The pipeline in KFP, which has one version for each uploaded package."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fedvsr import __version__
from fedvsr.errors import InputError
from fedvsr.kubeflow.connection import KfpConnection

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
        name: fedvsr's version and a digest of the package, which contains the names of the images.
        pipeline_id: The pipeline's ID in KFP.
        version_id: The version's ID in KFP.
    """

    name: str
    pipeline_id: str
    version_id: str


def upload(
    connection: KfpConnection, pipeline: str, package: bytes, description: str
) -> tuple[PipelineVersion, bool]:
    """Uploads a package as the newest version of the pipeline, which new runs use.

    Args:
        connection: The connection to KFP's API.
        pipeline: The pipeline's name; the pipeline is created if it does not exist.
        package: The compiled pipeline.
        description: The description in the UI.

    Returns:
        The version, and whether it is new. If the package is already the newest version, nothing changes.
    """
    name = f"{__version__}-{hashlib.sha256(package).hexdigest()[:_DIGITS]}"
    entry = connection.find(_path_by_name(pipeline)) or connection.post(
        "/pipelines", {"name": pipeline, "display_name": pipeline, "description": description}
    )
    pipeline_id = entry["pipeline_id"]
    versions = list(_query_versions(connection, pipeline_id))
    same = [version for version in versions if version.name.partition("+")[0] == name]
    if same and same[0] is versions[0]:
        return versions[0], False
    uploaded = connection.upload(
        "/pipelines/upload_version",
        package,
        # A version's name is unique, but an older package may be uploaded again after a newer one.
        name=f"{name}+{len(same)}" if same else name,
        pipelineid=pipeline_id,
        description=description,
    )
    return _parse_version(uploaded), True


def get_newest_version(connection: KfpConnection, pipeline: str) -> PipelineVersion:
    """Returns the version of a pipeline that was uploaded last.

    Raises:
        fedvsr.errors.InputError: KFP has no such pipeline, or no version of it.
    """
    entry = connection.find(_path_by_name(pipeline))
    version = next(_query_versions(connection, entry["pipeline_id"]), None) if entry else None
    if version is None:
        raise InputError(
            f"KFP at {connection.endpoint} has no pipeline {pipeline!r}; `make deploy` uploads it, and "
            "--namespace or FEDVSR_NAMESPACE selects the deployment"
        )
    return version


def _path_by_name(pipeline: str) -> str:
    return f"/pipelines/names/{quote(pipeline, safe='')}"


def _query_versions(connection: KfpConnection, pipeline_id: str) -> Iterator[PipelineVersion]:
    """Yields the pipeline's versions, newest first."""
    path = f"/pipelines/{pipeline_id}/versions"
    return map(_parse_version, connection.pages(path, "pipeline_versions", sort_by="created_at desc"))


def _parse_version(entry: Mapping[str, Any]) -> PipelineVersion:
    return PipelineVersion(entry["display_name"], entry["pipeline_id"], entry["pipeline_version_id"])
