"""The pods of a pipeline run's steps, with the round of each.

KFP's API knows neither the pod nor the round of a step. The run's Argo workflow has both.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedvsr.kubeflow.connection import KfpConnection

# The Argo template of the pods that run a step's code. KFP's driver pods have another template.
_TEMPLATE = "system-container-impl"
_SUCCEEDED = "Succeeded"
_ENDED = (_SUCCEEDED, "Failed", "Error")


@dataclass(frozen=True)
class StepPod:
    """The pod that runs a step's code.

    Attributes:
        name: The name of the step's component, such as ``train_clients``.
        round_number: The step's round; None for a step of the whole run.
        node: The ID of the pod's node in the workflow. The archived log is found by it.
        pod: The pod's name.
        namespace: The pod's namespace.
        phase: Argo's phase, such as Succeeded.
        started_at: The start time as Argo writes it. Step pods are sorted by it.
    """

    name: str
    round_number: int | None
    node: str
    pod: str
    namespace: str
    phase: str
    started_at: str

    @property
    def has_ended(self) -> bool:
        """Whether the pod has ended."""
        return self.phase in _ENDED

    @property
    def has_succeeded(self) -> bool:
        """Whether the pod has ended without an error."""
        return self.phase == _SUCCEEDED

    @property
    def title(self) -> str:
        """The step's name and round, for headings."""
        return self.name if self.round_number is None else f"{self.name}, round {self.round_number}"


def list_step_pods(connection: KfpConnection, run_id: str) -> list[StepPod]:
    """Returns the step pods of a pipeline run that exist so far, sorted by their start."""
    detail = connection.get_v1(f"/runs/{run_id}")
    manifest = detail.get("pipeline_runtime", {}).get("workflow_manifest", "")
    return sorted(_parse_step_pods(json.loads(manifest)), key=lambda pod: pod.started_at) if manifest else []


def last_ended_round(step_pods: list[StepPod]) -> int | None:
    """Returns the last round that has ended, or None if it is not known yet."""
    ended_rounds = [
        pod.round_number
        for pod in step_pods
        if pod.name == "aggregate" and pod.has_succeeded and pod.round_number
    ]
    if ended_rounds:
        return max(ended_rounds)
    started_rounds = [
        pod.round_number for pod in step_pods if pod.name == "train_clients" and pod.round_number
    ]
    # This pipeline run has ended no round. It began with the round after the last one that had ended.
    return min(started_rounds) - 1 if started_rounds else None


def _parse_step_pods(workflow: Mapping[str, Any]) -> Iterator[StepPod]:
    metadata = workflow["metadata"]
    for node_id, node in _nodes(workflow.get("status", {})).items():
        if node.get("type") != "Pod" or node.get("templateName") != _TEMPLATE:
            continue
        # The name ends, for example, in .train-clients(0).executor(0).
        task = node["name"].split(".")[-2].partition("(")[0]
        round_number = _inputs(node).get("round")
        # Argo names a node WORKFLOW-HASH and its pod WORKFLOW-TEMPLATE-HASH.
        suffix = node_id.removeprefix(f"{metadata['name']}-")
        yield StepPod(
            name=_component(task),
            round_number=None if round_number is None else int(round_number),
            node=node_id,
            pod=f"{metadata['name']}-{_TEMPLATE}-{suffix}",
            namespace=metadata.get("namespace", ""),
            phase=node.get("phase", ""),
            started_at=node.get("startedAt") or "",
        )


def _nodes(status: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the workflow's nodes by their IDs. Argo compresses the nodes of a long workflow."""
    compressed = status.get("compressedNodes")
    if compressed:
        nodes: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(compressed)))
        return nodes
    return status.get("nodes") or {}


def _component(task: str) -> str:
    """Returns the component of a task. A component's second task has a number, for example evaluate-2."""
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
