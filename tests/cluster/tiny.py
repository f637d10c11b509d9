"""A run that is small enough for the cluster tests."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.deployment import Deployment

FIELDS: dict[str, Any] = {
    "seed": 1,
    "data.scale": 2,
    "data.minimum_frames": 3,
    "data.maximum_frames": 12,
    "model.name": "fastvsr",
    "model.options": {"channels": 8, "blocks": 1},
    "training.local_steps": 2,
    "training.batch_size": 1,
    "training.frames": 3,
    "training.patch_size": 32,
    "training.learning_rate": 0.002,
    "training.device": "cpu",
    "training.threads": 1,
}


def fields_of(clients: Sequence[str], rounds: int, **others: Any) -> dict[str, Any]:
    """Returns the run's configuration by dotted name; keywords have two underscores instead of a dot."""
    named = {name.replace("__", "."): value for name, value in others.items()}
    return {**FIELDS, "federation.clients": list(clients), "federation.rounds": rounds, **named}


def run_of(
    deployment: Deployment, name: str, fields: Mapping[str, Any], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end: on Kubeflow Pipelines if KFP is installed, otherwise with `fedvsr run`."""
    return (submit if deployment.kfp else drive)(deployment, name, fields, **options)


def submit(
    deployment: Deployment,
    name: str,
    fields: Mapping[str, Any],
    *,
    registered_model: str = "fedvsr-test",
    follow: bool = True,
    check: bool = True,
    virtual: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Submits it to Kubeflow Pipelines."""
    words = [word for field, value in fields.items() for word in ("--set", f"{field}={json.dumps(value)}")]
    # An interrupted test session may have left a run with this name in KFP.
    words += ["--registered-model", registered_model, "--replace", *(["--follow"] if follow else [])]
    words += ["--virtual-clients"] if virtual else []
    return deployment.fedvsr("submit", name, *words, check=check)


def drive(
    deployment: Deployment,
    name: str,
    fields: Mapping[str, Any],
    *,
    registered_model: str = "fedvsr-test",
    on: str = "cluster",
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs it with `fedvsr run`, with clients on the cluster or at sites."""
    values: dict[str, Any] = {"name": name, "tracking": {"registered_model": registered_model}}
    for field, value in fields.items():
        *sections, leaf = field.split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
        target[leaf] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        return deployment.fedvsr("run", path, "--on", on, check=check)
