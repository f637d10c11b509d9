"""One client's Job: its work, what was observed of it, and the phase it is in."""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from fedvsr.cluster.api import Cluster, is_transient
from fedvsr.cluster.job_spec import JobSettings, JobSpec, job_manifest
from fedvsr.cluster.states import JobState, PodState, read_job
from fedvsr.errors import ClusterError
from fedvsr.federation.records import Outcome

# Kubernetes ends a Job at its deadline. If it has not done so after this long, fedvsr ends the Job.
LATE_SECONDS = 60.0
# How long to wait for the pods of a Job that fedvsr ended, and for the last lines of a Job's logs.
_ENDING_SECONDS, _DRAINING_SECONDS = 30.0, 15.0
# Kubernetes writes an event soon after it refuses to create a pod.
_LOOK_SECONDS, _LOOK_AGAIN_SECONDS = 3.0, 30.0

_MAX_PARALLEL_STARTS = 16
_MAX_DELETION_SECONDS, _DELETION_POLL_SECONDS = 30.0, 0.2
_CONFLICT = 409


class Phase(Enum):
    """The phases of a Job on its way to a verdict, in order; a Job that ends by itself skips ENDING."""

    RUNNING = "running"
    # This process has deleted the Job; its pods are still ending.
    ENDING = "ending"
    # The Job has ended; the last lines of its logs are still being read.
    DRAINING = "draining logs"
    # The Job has its verdict.
    SETTLED = "settled"


@dataclass(frozen=True)
class CutOff:
    """Why this process ends a Job: the outcome and its reason."""

    outcome: Outcome
    reason: str


@dataclass(eq=False)
class ClientJob:
    """One client's Job.

    Properties only read what was observed. `start` and `find` call the cluster, `observe…` record what a
    watch or a listing has reported, and `enter_…` change the phase.

    Attributes:
        spec: The work.
        settings: The client's settings on the cluster.
        state: The Job as last observed, None before it exists.
        is_adopted: Whether an earlier process created it, so that its deadline started then.
        is_gone: Whether it no longer exists.
        is_refused: Whether Kubernetes refused to create it.
        refusal: Why Kubernetes refused to create the Job or its pod.
        cut_off: Why this process ended it, None if it did not.
        phase: The phase.
        phase_ends_at: When the phase ends at the latest, on the clock of `time.monotonic`.
        next_refusal_look: When to look for a refused pod, on the clock of `time.monotonic`.
    """

    spec: JobSpec
    settings: JobSettings
    state: JobState | None = None
    is_adopted: bool = False
    is_gone: bool = False
    is_refused: bool = False
    refusal: str = ""
    cut_off: CutOff | None = None
    phase: Phase = Phase.RUNNING
    phase_ends_at: float = 0.0
    next_refusal_look: float = 0.0
    _pods: dict[str, PodState] = field(default_factory=dict, init=False)
    _vanished: set[str] = field(default_factory=set, init=False)
    _blocked: PodState | None = field(default=None, init=False)

    # Observed facts.

    @property
    def client(self) -> str:
        return self.spec.client

    @property
    def namespace(self) -> str:
        return self.settings.namespace

    @property
    def attempts(self) -> list[PodState]:
        """Its pods in the order in which they were created."""
        return sorted(self._pods.values(), key=lambda pod: (pod.created, pod.name))

    @property
    def has_ended(self) -> bool:
        """Whether no attempt will follow."""
        return self.is_refused or self.is_gone or self.succeeded or bool(self.state and self.state.ended)

    @property
    def is_open(self) -> bool:
        """Whether it may still run: it has not ended and is not being settled."""
        return self.phase in (Phase.RUNNING, Phase.ENDING) and not self.has_ended

    @property
    def succeeded(self) -> bool:
        """Whether its work is done; the pod reports that a second or two before the Job."""
        has_pod = any(pod.phase == "Succeeded" for pod in self._pods.values())
        return has_pod or bool(self.state and self.state.ended == "Complete")

    @property
    def waiting_reason(self) -> str:
        """Why its first or its next attempt has not begun; empty if it has."""
        if not self._pods:
            return self.refusal
        return _blocked_reason(self._blocked, self.settings.image) if self._blocked else ""

    @property
    def is_unschedulable(self) -> bool:
        """Whether it waits for a node with enough room, or for its namespace's quota."""
        if self._blocked:
            return bool(self._blocked.unschedulable)
        return bool(self.refusal) and not self._pods

    def has_vanished(self, pod: PodState) -> bool:
        """Whether an attempt disappeared before its end was observed."""
        return pod.uid in self._vanished and not pod.has_ended

    def is_running(self, pod: PodState) -> bool:
        """Whether an attempt has neither ended nor disappeared."""
        return not pod.has_ended and pod.uid not in self._vanished

    # What is due.

    @property
    def next_due(self) -> float:
        """When the next action is due if no event arrives, on the clock of `time.monotonic`."""
        if self.phase is Phase.RUNNING and not self._pods:
            return min(self.phase_ends_at, self.next_refusal_look)
        return self.phase_ends_at

    def is_overdue(self, now: float) -> bool:
        """Whether Kubernetes should have ended it by now."""
        return self.phase is Phase.RUNNING and not self.has_ended and now >= self.phase_ends_at

    def is_refusal_look_due(self, now: float) -> bool:
        """Whether it is time to look why it has no pod."""
        return self.is_open and not self._pods and now >= self.next_refusal_look

    def is_draining_due(self, now: float) -> bool:
        """Whether it has ended, or fedvsr ended it and its pods have had their time to end."""
        if self.phase is Phase.ENDING:
            return self.has_ended or now >= self.phase_ends_at
        return self.phase is Phase.RUNNING and self.has_ended

    # Actions on the cluster.

    def start(self, cluster: Cluster) -> None:
        """Adopts the Job if it is running, otherwise creates it; replaces a Job that has ended.

        If Kubernetes refuses the Job, the client fails and nothing is raised.

        Raises:
            fedvsr.errors.ClusterError: Kubernetes does not answer.
        """
        if self.state:
            return
        try:
            manifest = cluster.find_job(self.namespace, self.spec.name)
            state = read_job(manifest) if manifest else None
            if state and (state.ended or state.deleting):
                remove_job(cluster, state)
                state = None
            self.is_adopted = state is not None
            self.state = state or read_job(cluster.create_job(job_manifest(self.spec, self.settings)))
        except ClusterError as error:
            if is_transient(error):
                raise
            self.is_refused, self.refusal = True, str(error)

    def find(self, cluster: Cluster) -> JobState | None:
        """Returns the Job as it is on the cluster; None if it does not exist or is being deleted."""
        manifest = cluster.find_job(self.namespace, self.spec.name)
        state = read_job(manifest) if manifest else None
        return None if state is None or state.deleting else state

    # Observations.

    def observe(self, state: JobState, *, deleted: bool = False) -> None:
        """Records the Job's new state."""
        self.state = state
        self.is_gone = self.is_gone or deleted

    def observe_refusal(self, reason: str) -> None:
        """Records why Kubernetes creates no pod."""
        self.refusal = reason

    def observe_missing(self) -> None:
        """Records that the Job is missing in a listing."""
        self.is_gone = True

    def observe_attempt(self, pod: PodState, *, deleted: bool = False) -> None:
        """Records the new state of one of its pods."""
        before = self._pods.get(pod.uid)
        if before and before.has_ended:
            # Its end was observed; its deletion adds nothing.
            return
        self._pods[pod.uid] = pod
        if deleted:
            self._vanished.add(pod.uid)
        if pod is self.attempts[-1]:
            # A deleted pod no longer says what it waited for, so the last reason is kept.
            if pod.has_run:
                self._blocked = None
            elif _blocked_reason(pod, self.settings.image):
                self._blocked = pod

    def observe_listed_attempts(self, uids: Collection[str]) -> None:
        """Records which pods a complete listing has; the others have vanished."""
        self._vanished |= self._pods.keys() - set(uids)

    # Phases.

    def enter_running(self, now: float) -> None:
        """Enters RUNNING for the rest of the deadline plus a minute, in which Kubernetes ends the Job."""
        age = 0.0
        if self.state and self.is_adopted:
            age = max(0.0, (datetime.now(UTC) - self.state.created).total_seconds())
        self.phase = Phase.RUNNING
        self.phase_ends_at = now + self.spec.deadline_seconds - age + LATE_SECONDS
        self.next_refusal_look = now + _LOOK_SECONDS

    def enter_ending(self, cut_off: CutOff, now: float) -> None:
        """Enters ENDING, in which the pods of a Job that this process ends have some seconds to end."""
        self.cut_off = cut_off
        self.phase, self.phase_ends_at = Phase.ENDING, now + _ENDING_SECONDS

    def enter_draining(self, now: float) -> None:
        """Enters DRAINING, in which the logs of an ended Job are read to their ends."""
        self.phase, self.phase_ends_at = Phase.DRAINING, now + _DRAINING_SECONDS

    def enter_settled(self) -> None:
        """Enters SETTLED: the Job gets its verdict."""
        self.phase = Phase.SETTLED

    def postpone_refusal_look(self, now: float) -> None:
        """Sets when to look for a refused pod again."""
        self.next_refusal_look = now + _LOOK_AGAIN_SECONDS


def start_jobs(cluster: Cluster, jobs: Sequence[ClientJob]) -> None:
    """Starts Jobs in parallel as `ClientJob.start` does.

    Raises:
        fedvsr.errors.ClusterError: Kubernetes does not answer.
    """
    with ThreadPoolExecutor(_MAX_PARALLEL_STARTS) as pool:
        list(pool.map(lambda job: job.start(cluster), jobs))


def remove_job(cluster: Cluster, state: JobState) -> None:
    """Deletes a Job to free its name, and waits until it no longer exists."""
    if not state.deleting:
        cluster.delete_job(state.namespace, state.name, state.uid, keep_until_pods_end=True)
    give_up_at = time.monotonic() + _MAX_DELETION_SECONDS
    while (manifest := cluster.find_job(state.namespace, state.name)) and read_job(manifest).uid == state.uid:
        if time.monotonic() > give_up_at:
            raise ClusterError(
                f"Job {state.name} in namespace {state.namespace} was deleted and does not go; "
                "look at its pods and run this again",
                status=_CONFLICT,
            )
        time.sleep(_DELETION_POLL_SECONDS)


def _blocked_reason(pod: PodState, image: str) -> str:
    if pod.unschedulable:
        return f"no node can take it: {pod.unschedulable}"
    if pod.waiting in ("", "ContainerCreating", "PodInitializing"):
        return ""
    reason = f"{pod.waiting}: {pod.waiting_message}".rstrip(": ")
    if "Image" in pod.waiting:
        return f"its image {image} cannot be pulled: {reason}"
    return f"its container cannot start: {reason}"
