"""The state of Kubernetes' Jobs and pods, parsed from their JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fedvsr.text import MAX_CHARACTERS, printable

Json = dict[str, Any]


@dataclass(frozen=True)
class JobState:
    """A Job at one moment.

    Attributes:
        ended: ``Complete`` or ``Failed``; empty if it has not ended.
        reason: Why it failed, as Kubernetes' word: BackoffLimitExceeded, DeadlineExceeded, …
        message: Why it failed, as Kubernetes' sentence.
        failed: Number of its pods that have failed.
        deleting: Whether it was deleted and only waits for its pods to end.
        completed_indexes: The indexes of an Indexed Job that have succeeded.
        failed_indexes: The indexes of an Indexed Job that have no tries left.
    """

    name: str
    namespace: str
    uid: str
    created: datetime
    started: datetime | None
    finished: datetime | None
    ended: str
    reason: str
    message: str
    failed: int
    deleting: bool
    completed_indexes: frozenset[int] = frozenset()
    failed_indexes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class PodState:
    """A pod, which is one attempt of a Job, at one moment.

    Attributes:
        job_uid: The UID of its Job. The name is not enough, since a replaced Job had the same name.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        reason: Why the pod as a whole failed, as Kubernetes' word: Evicted, …
        message: Why the pod as a whole failed, as Kubernetes' sentence.
        exit_code: The exit code of its container; None if it has not ended.
        exit_reason: Why its container ended, as Kubernetes' word: OOMKilled, Error, …
        exit_message: What the container wrote to /dev/termination-log, or the end of its log.
        waiting: Why its container has not started yet, as Kubernetes' word: ImagePullBackOff, …
        waiting_message: Why its container has not started yet, as Kubernetes' sentence.
        unschedulable: The scheduler's message while no node can take the pod; otherwise empty.
        disruption: Why the cluster itself ended it: a drained node, a preemption, …
        memory_limit: The memory limit of its container.
        deleting: Whether it was deleted.
        has_run: Whether its container was started, so that it has a log.
        finished: When its container ended; None if it has not.
        index: Its index in an Indexed Job; None in another Job.
    """

    name: str
    uid: str
    job_uid: str
    created: datetime
    phase: str
    reason: str
    message: str
    exit_code: int | None
    exit_reason: str
    exit_message: str
    waiting: str
    waiting_message: str
    unschedulable: str
    disruption: str
    memory_limit: str
    deleting: bool
    has_run: bool
    finished: datetime | None
    index: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.phase in ("Succeeded", "Failed")


def read_job(manifest: Json) -> JobState:
    """Reads a Job from its JSON."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    conditions = _conditions(status)
    ended = next((name for name in ("Complete", "Failed") if name in conditions), "")
    end = conditions.get(ended, {})
    return JobState(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        created=_time(metadata["creationTimestamp"]),
        started=_time(status["startTime"]) if status.get("startTime") else None,
        finished=_time(end["lastTransitionTime"]) if end.get("lastTransitionTime") else None,
        ended=ended,
        reason=end.get("reason") or "",
        message=end.get("message") or "",
        failed=status.get("failed") or 0,
        deleting="deletionTimestamp" in metadata,
        completed_indexes=_indexes(status.get("completedIndexes") or ""),
        failed_indexes=_indexes(status.get("failedIndexes") or ""),
    )


def read_pod(manifest: Json) -> PodState:
    """Reads a pod from its JSON."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    container: Json = next(iter(status.get("containerStatuses") or []), {})
    state = container.get("state") or {}
    terminated, waiting = state.get("terminated") or {}, state.get("waiting") or {}
    spec: Json = next(iter(manifest["spec"]["containers"]), {})
    index = (metadata.get("annotations") or {}).get("batch.kubernetes.io/job-completion-index")
    return PodState(
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=(metadata.get("labels") or {}).get("batch.kubernetes.io/controller-uid", ""),
        created=_time(metadata["creationTimestamp"]),
        phase=status.get("phase") or "Unknown",
        reason=status.get("reason") or "",
        message=printable(status.get("message") or ""),
        exit_code=terminated.get("exitCode"),
        exit_reason=terminated.get("reason") or "",
        exit_message=terminated.get("message") or "",
        waiting=waiting.get("reason") or "",
        waiting_message=printable(waiting.get("message") or ""),
        unschedulable=_unschedulable(status),
        disruption=_disruption(status),
        memory_limit=((spec.get("resources") or {}).get("limits") or {}).get("memory", ""),
        deleting="deletionTimestamp" in metadata,
        # When a pod is deleted, a container that never started also gets an exit code.
        has_run="running" in state or bool(terminated.get("startedAt")),
        finished=_time(terminated["finishedAt"]) if terminated.get("finishedAt") else None,
        index=int(index) if index is not None else None,
    )


def last_line(text: str) -> str:
    """Returns the last line of a text that is not blank, made printable."""
    lines = [line for line in text[-2 * MAX_CHARACTERS :].splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


def _unschedulable(status: Json) -> str:
    condition = _conditions(status, "False").get("PodScheduled", {})
    if condition.get("reason") != "Unschedulable":
        return ""
    # The message continues with preemption, which does not help the reader.
    return printable((condition.get("message") or "").partition(". ")[0]) or "Unschedulable"


def _disruption(status: Json) -> str:
    condition = _conditions(status).get("DisruptionTarget")
    return printable(f"{condition.get('reason')}: {condition.get('message')}") if condition else ""


def _conditions(status: Json, value: str = "True") -> dict[str, Json]:
    conditions: Iterable[Json] = status.get("conditions") or []
    return {condition["type"]: condition for condition in conditions if condition.get("status") == value}


def _indexes(text: str) -> frozenset[int]:
    """Reads Kubernetes' short form of a set of indexes: 0-3,7."""
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes.update(range(int(first), int(last or first) + 1))
    return frozenset(indexes)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
