"""What has been seen of one client's Job, from its start to its end."""

from dataclasses import dataclass, field

from fedvsr.cluster.job import JobSpec
from fedvsr.cluster.settings import ClientSettings
from fedvsr.cluster.states import JobState, PodState
from fedvsr.federation.records import Outcome


@dataclass(frozen=True)
class CutOff:
    """Why a Job was ended from here."""

    outcome: Outcome
    reason: str


@dataclass
class Course:
    """One client's Job as far as it is known.

    Attributes:
        spec: What the Job is for.
        settings: The client's place on the cluster.
        job: The Job as it was last seen, None before it was made.
        taken_over: Whether an earlier step made it, so that its time has been running since.
        gone: Whether the Job is not there any more.
        pods: Its tries, as they were last seen, by their identity and in their order.
        vanished: Those of them that are not there any more.
        refusal: Why Kubernetes made no pod for it, or not even the Job.
        refused: Whether that is the end of it.
        cut: Why it was ended from here.
    """

    spec: JobSpec
    settings: ClientSettings
    job: JobState | None = None
    taken_over: bool = False
    gone: bool = False
    pods: dict[str, PodState] = field(default_factory=dict)
    vanished: set[str] = field(default_factory=set)
    refusal: str = ""
    refused: bool = False
    cut: CutOff | None = None
    _stuck: PodState | None = None

    @property
    def client(self) -> str:
        return self.spec.client

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.refused or self.gone or self.succeeded or bool(self.job and self.job.ended)

    @property
    def succeeded(self) -> bool:
        """Whether its work is done; the pod says so a second or two before the Job."""
        done = any(pod.phase == "Succeeded" for pod in self.pods.values())
        return done or bool(self.job and self.job.ended == "Complete")

    def see(self, pod: PodState, *, vanished: bool = False) -> None:
        """Takes note of one of its pods."""
        before = self.pods.get(pod.uid)
        if before and before.phase in ("Succeeded", "Failed"):
            # How it ended is known; that it is deleted afterwards says nothing.
            return
        self.pods[pod.uid] = pod
        if vanished:
            self.vanished.add(pod.uid)
        if pod is self.tries()[-1]:
            # A pod that is deleted forgets what it waited for.
            if pod.has_run:
                self._stuck = None
            elif _why_stuck(pod, self.settings.image):
                self._stuck = pod

    def tries(self) -> list[PodState]:
        """Its pods in the order in which they were made."""
        return sorted(self.pods.values(), key=lambda pod: (pod.created, pod.name))

    @property
    def waiting(self) -> str:
        """Why its work has not begun, or not begun again; empty where it has."""
        if not self.pods:
            return self.refusal
        return _why_stuck(self._stuck, self.settings.image) if self._stuck else ""

    @property
    def unschedulable(self) -> bool:
        """Whether it waits for room: on a node, or in its namespace's quota."""
        return bool(self._stuck.unschedulable if self._stuck else self.refusal and not self.pods)


def _why_stuck(pod: PodState, image: str) -> str:
    if pod.unschedulable:
        return f"no node can take it: {pod.unschedulable}"
    if pod.waiting in ("", "ContainerCreating", "PodInitializing"):
        return ""
    said = f"{pod.waiting}: {pod.waiting_message}".rstrip(": ")
    if "Image" in pod.waiting:
        return f"its image {image} cannot be pulled: {said}"
    return f"its container cannot start: {said}"
