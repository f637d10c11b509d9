"""The steps of a run: the pod and the round of each.

KFP's API does not know the pod and the round of a step. The run's Argo workflow has both.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedvsr.kubeflow.connection import Connection

# The template of a step's own pod; the driver's pod before it has another.
_TEMPLATE = "system-container-impl"
_FINISHED = ("Succeeded", "Failed", "Error")


@dataclass(frozen=True)
class Step:
    """One pod of a step.

    Attributes:
        name: The name of the step's component, such as ``train_clients``.
        round_number: The step's round; None for a step of the whole run.
        node: The step's node in the workflow, which names the archived log.
        pod: The pod's name.
        namespace: The pod's namespace.
        phase: Argo's phase, such as Succeeded.
        started: When the step started, as Argo's text; it sorts the steps.
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
        """Whether the step has ended."""
        return self.phase in _FINISHED

    @property
    def succeeded(self) -> bool:
        """Whether the step has ended without an error."""
        return self.phase == "Succeeded"

    @property
    def title(self) -> str:
        """The step's name for people, with its round."""
        return self.name if self.round_number is None else f"{self.name}, round {self.round_number}"


def run_steps(connection: Connection, run_id: str) -> list[Step]:
    """Returns the steps of a run that have a pod so far, sorted by their start."""
    detail = connection.get_v1(f"/runs/{run_id}")
    manifest = detail.get("pipeline_runtime", {}).get("workflow_manifest", "")
    return sorted(_steps(json.loads(manifest)), key=lambda step: step.started) if manifest else []


def rounds_done(steps: list[Step]) -> int | None:
    """Returns the last round that has ended, or None if it is not known yet."""
    ended = [
        step.round_number
        for step in steps
        if step.name == "aggregate" and step.succeeded and step.round_number
    ]
    if ended:
        return max(ended)
    started = [step.round_number for step in steps if step.name == "train_clients" and step.round_number]
    return min(started) - 1 if started else None


def _steps(workflow: Mapping[str, Any]) -> Iterator[Step]:
    metadata = workflow["metadata"]
    for node_id, node in _nodes(workflow.get("status", {})).items():
        if node.get("type") != "Pod" or node.get("templateName") != _TEMPLATE:
            continue
        # The name ends in .train-clients(0).executor(0).
        task = node["name"].split(".")[-2].partition("(")[0]
        round_number = _inputs(node).get("round")
        suffix = node_id.removeprefix(f"{metadata['name']}-")
        yield Step(
            name=_component(task),
            round_number=None if round_number is None else int(round_number),
            node=node_id,
            pod=f"{metadata['name']}-{_TEMPLATE}-{suffix}",
            namespace=metadata.get("namespace", ""),
            phase=node.get("phase", ""),
            started=node.get("startedAt") or "",
        )


def _nodes(status: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the workflow's nodes by their ids. Argo compresses them in a long workflow."""
    compressed = status.get("compressedNodes")
    if compressed:
        nodes: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(compressed)))
        return nodes
    return status.get("nodes") or {}


def _component(task: str) -> str:
    """Returns the component of a task. A component's second task has a number, such as evaluate-2."""
    name, _, number = task.rpartition("-")
    return (name if name and number.isdigit() else task).replace("-", "_")


def _inputs(node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a step's input parameters, which KFP's driver puts into the pod's command."""
    for parameter in node.get("inputs", {}).get("parameters", []):
        if parameter.get("name") == "pod-spec-patch" and parameter.get("value"):
            command = json.loads(parameter["value"])["containers"][0].get("command", [])
            if "--executor_input" not in command:
                return {}
            executor_input = json.loads(command[command.index("--executor_input") + 1])
            values: dict[str, Any] = executor_input.get("inputs", {}).get("parameterValues", {})
            return values
    return {}
