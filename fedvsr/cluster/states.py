"""What of Kubernetes' objects matters here, read once from their JSON."""

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
        ended: ``Complete`` or ``Failed``, empty before.
        reason: Why it failed, in Kubernetes' one word: BackoffLimitExceeded, DeadlineExceeded, …
        message: The same as a sentence.
        failed: How many of its pods have failed.
        deleting: Whether it was deleted and only its pods are waited for.
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

    @property
    def seconds(self) -> float:
        """How long it took from its start; 0 where it has not ended."""
        return (self.finished - self.started).total_seconds() if self.started and self.finished else 0.0


@dataclass(frozen=True)
class PodState:
    """One try of a Job at one moment.

    Attributes:
        job: The Job's name.
        job_uid: The Job's identity: one that was replaced had the same name.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        reason: Why the pod as a whole failed: Evicted, …
        message: The same as a sentence.
        exit_code: That of its container, None while it has none.
        exit_reason: OOMKilled, Error, …
        exit_message: What the container left in /dev/termination-log, or the end of its log.
        waiting: Why its container does not start yet: ImagePullBackOff, …
        waiting_message: The same as a sentence.
        unschedulable: The scheduler's message while no node can take it.
        disruption: Why the cluster itself took it down: a drained node, a preemption, …
        memory_limit: What its container may use.
        deleting: Whether somebody or something has deleted it.
        has_run: Whether its container was started, so that there is a log.
    """

    name: str
    uid: str
    job: str
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


def read_job(found: Json) -> JobState:
    """Reads a Job from its JSON."""
    metadata, status = found["metadata"], found.get("status") or {}
    conditions = _conditions(status)
    ended = next((each for each in ("Complete", "Failed") if each in conditions), "")
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
    )


def read_pod(found: Json) -> PodState:
    """Reads a pod from its JSON."""
    metadata, status = found["metadata"], found.get("status") or {}
    labels, conditions = metadata.get("labels") or {}, _conditions(status)
    container: Json = next(iter(status.get("containerStatuses") or []), {})
    state = container.get("state") or {}
    ended, waiting = state.get("terminated") or {}, state.get("waiting") or {}
    scheduled = _conditions(status, "False").get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    spec: Json = next(iter(found["spec"]["containers"]), {})
    return PodState(
        name=metadata["name"],
        uid=metadata["uid"],
        job=labels.get("batch.kubernetes.io/job-name", ""),
        job_uid=labels.get("batch.kubernetes.io/controller-uid", ""),
        created=_time(metadata["creationTimestamp"]),
        phase=status.get("phase") or "Unknown",
        reason=status.get("reason") or "",
        message=printable(status.get("message") or ""),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason") or "",
        exit_message=ended.get("message") or "",
        waiting=waiting.get("reason") or "",
        waiting_message=printable(waiting.get("message") or ""),
        unschedulable=_unschedulable(scheduled),
        disruption=printable(f"{disruption.get('reason')}: {disruption.get('message')}")
        if disruption
        else "",
        memory_limit=((spec.get("resources") or {}).get("limits") or {}).get("memory", ""),
        deleting="deletionTimestamp" in metadata,
        # A container that never started is given an exit code too when its pod is deleted.
        has_run="running" in state or bool(ended.get("startedAt")),
    )


def last_line(text: str) -> str:
    """Returns the last line of a text that has something in it, made printable."""
    lines = [line for line in text[-2 * MAX_CHARACTERS :].splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


def _unschedulable(condition: Json) -> str:
    if condition.get("reason") != "Unschedulable":
        return ""
    # What follows the first sentence is that nobody can be preempted either.
    return printable((condition.get("message") or "").partition(". ")[0]) or "Unschedulable"


def _conditions(status: Json, value: str = "True") -> dict[str, Json]:
    found: Iterable[Json] = status.get("conditions") or []
    return {each["type"]: each for each in found if each.get("status") == value}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
