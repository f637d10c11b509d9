"""The steps of a run as Kubernetes runs them: which pod is which step of which round.

KFP's own API has no round and no pod of a step; the workflow that it was turned into has both.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedvsr.kubeflow.connection import Connection

# A step's own pod, as against the driver's before it.
_TEMPLATE = "system-container-impl"
_FINISHED = ("Succeeded", "Failed", "Error")


@dataclass(frozen=True)
class Step:
    """One pod of a step.

    Attributes:
        name: The step as its component is called: ``train_clients``.
        round_number: The round that it works on, None for a step of the whole run.
        node: Its node of the workflow, which names the archived log.
        pod: The pod's name.
        namespace: The pod's namespace.
        phase: Argo's word for where it is.
        started: When it was started; the order of the steps.
    """

    name: str
    round_number: int | None
    node: str
    pod: str
    namespace: str
    phase: str
    started: str

    @property
    def finished(self) -> bool:
        return self.phase in _FINISHED

    @property
    def succeeded(self) -> bool:
        return self.phase == "Succeeded"

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name if self.round_number is None else f"{self.name}, round {self.round_number}"


def run_steps(connection: Connection, run_id: str) -> list[Step]:
    """Returns the steps of a run that have a pod so far, in the order of their start."""
    detail = connection.get_v1(f"/runs/{run_id}")
    manifest = detail.get("pipeline_runtime", {}).get("workflow_manifest", "")
    return sorted(_steps(json.loads(manifest)), key=lambda each: each.started) if manifest else []


def rounds_done(steps: list[Step]) -> int | None:
    """Returns the last round that has ended, None where that cannot be told yet."""
    done = [
        each.round_number
        for each in steps
        if each.name == "aggregate" and each.succeeded and each.round_number
    ]
    begun = [each.round_number for each in steps if each.name == "train_clients" and each.round_number]
    if done:
        return max(done)
    return min(begun) - 1 if begun else None


def _steps(workflow: Mapping[str, Any]) -> Iterator[Step]:
    metadata = workflow["metadata"]
    for node, found in _nodes(workflow.get("status", {})).items():
        if found.get("type") != "Pod" or found.get("templateName") != _TEMPLATE:
            continue
        # …(0).train-clients(0).executor(0)
        task = found["name"].split(".")[-2].partition("(")[0]
        round_number = _inputs(found).get("round")
        suffix = node.removeprefix(f"{metadata['name']}-")
        yield Step(
            name=_component(task),
            round_number=None if round_number is None else int(round_number),
            node=node,
            pod=f"{metadata['name']}-{_TEMPLATE}-{suffix}",
            namespace=metadata.get("namespace", ""),
            phase=found.get("phase", ""),
            started=found.get("startedAt") or "",
        )


def _nodes(status: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow's nodes, which Argo packs once there are some rounds of them."""
    packed = status.get("compressedNodes")
    if packed:
        unpacked: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return unpacked
    return status.get("nodes") or {}


def _component(task: str) -> str:
    """A second task of a component has a number: evaluate-2."""
    name, _, number = task.rpartition("-")
    return (name if name and number.isdigit() else task).replace("-", "_")


def _inputs(node: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that KFP's driver gave to a step, which are in its pod's command."""
    for parameter in node.get("inputs", {}).get("parameters", []):
        if parameter.get("name") == "pod-spec-patch" and parameter.get("value"):
            command = json.loads(parameter["value"])["containers"][0].get("command", [])
            given = command[command.index("--executor_input") + 1] if "--executor_input" in command else "{}"
            values: dict[str, Any] = json.loads(given).get("inputs", {}).get("parameterValues", {})
            return values
    return {}
