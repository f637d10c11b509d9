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
    gone: bool = False
    pods: dict[str, PodState] = field(default_factory=dict)
    vanished: set[str] = field(default_factory=set)
    refusal: str = ""
    refused: bool = False
    cut: CutOff | None = None

    @property
    def client(self) -> str:
        return self.spec.client

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.refused or self.gone or bool(self.job and self.job.ended)

    def see(self, pod: PodState, *, vanished: bool = False) -> None:
        """Takes note of one of its pods."""
        self.pods[pod.uid] = pod
        if vanished:
            self.vanished.add(pod.uid)

    def tries(self) -> list[PodState]:
        """Its pods in the order in which they were made."""
        return sorted(self.pods.values(), key=lambda pod: (pod.created, pod.name))

    def waiting(self) -> str:
        """Why its work has not begun or not begun again, empty where it has."""
        pod = next(iter(reversed(self.tries())), None)
        if pod is None:
            return self.refusal
        if pod.has_run:
            return ""
        if pod.unschedulable:
            return f"no node can take it: {pod.unschedulable}"
        if pod.waiting in ("", "ContainerCreating", "PodInitializing"):
            return ""
        if "Image" in pod.waiting:
            said = pod.waiting_message or pod.waiting
            return f"its image {self.settings.image} cannot be pulled: {said}"
        return f"its container cannot start: {pod.waiting}: {pod.waiting_message}"
