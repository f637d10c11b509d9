"""A site's work as Jobs, on the site's own Kubernetes cluster."""

import threading
import time
from dataclasses import dataclass, field

from fedvsr.cluster.api import JOBS, PODS, Cluster
from fedvsr.cluster.client_job import ClientJob, CutOff
from fedvsr.cluster.job_follower import JobFollower
from fedvsr.cluster.job_spec import CLIENT_LABEL, COMPONENT_LABEL, JobSpec, selector
from fedvsr.cluster.site_settings import SiteJobSettings
from fedvsr.cluster.states import read_job
from fedvsr.cluster.verdict import Verdict
from fedvsr.errors import ClusterError
from fedvsr.federation.records import Outcome
from fedvsr.federation.site_records import AssignmentRecord
from fedvsr.progress import Progress

_COMPONENT = "work"
_MAY_SUCCEED, _SIGKILL = 1, 137
# The pods of a deleted Job have some seconds to end; its logs are read to their ends.
_MAX_STOPPING_SECONDS, _MAX_ENDING_SECONDS = 60.0, 60.0
_POLL_SECONDS = 0.5


@dataclass
class _Work:
    """A Job that a thread follows.

    Attributes:
        job: The Job.
        stopping: Is set if the Job must be deleted.
        code: The exit code, once the Job has its verdict.
        thread: The thread.
    """

    job: ClientJob
    stopping: threading.Event = field(default_factory=threading.Event)
    code: int | None = None
    thread: threading.Thread = field(default_factory=threading.Thread)


class JobLauncher:
    """Runs a site's worker as a Job: a `fedvsr.site.launcher.Launcher`.

    A Job has one attempt, since the agent itself tries again; Kubernetes repeats it only after a disruption,
    such as a drained node. The same assignment always has the same Job. So an agent that was killed and
    starts again adopts the Job that it left.

    Args:
        cluster: The site's cluster.
        settings: The settings of the site's Jobs.
        site: The site's name.
        progress: Receives the Jobs' log lines, and why a Job waits or failed.
    """

    def __init__(self, cluster: Cluster, settings: SiteJobSettings, site: str, progress: Progress) -> None:
        self._cluster, self._settings, self._progress = cluster, settings, progress
        self._labels = {COMPONENT_LABEL: _COMPONENT, CLIENT_LABEL: site}
        self._work: _Work | None = None

    @property
    def gpus(self) -> tuple[str, ...]:
        """The resource of each GPU that a Job may request."""
        return (self._settings.gpu_resource,) * self._settings.max_gpus

    def start(self, assignment: AssignmentRecord) -> None:
        """Starts the Job, or adopts it if it runs. Jobs of other assignments are deleted first.

        It returns at once. If Kubernetes does not answer or refuses the Job, `poll` returns an exit code.
        """
        self._end_work()
        self._work = _Work(ClientJob(work_job(assignment), self._settings))
        self._work.thread = threading.Thread(
            target=self._run, args=(self._work,), name="site-job", daemon=True
        )
        self._work.thread.start()

    def poll(self) -> int | None:
        """Returns the exit code of the Job that was started last, or None while it runs or waits.

        1 stands for a Job that ended without an exit code, such as one that Kubernetes refused.
        """
        if self._work is None:
            return 0
        if self._work.code is None and not self._work.thread.is_alive():
            return _MAY_SUCCEED
        return self._work.code

    def stop(self) -> None:
        """Deletes the Job, and any that an earlier agent left. Returns when their pods are gone.

        If Kubernetes does not answer, the reason is logged, and the next `start` deletes them.
        """
        self._end_work()
        try:
            self._remove_jobs()
        except ClusterError as error:
            self._progress.message(f"the site's Job is not stopped yet: {error}")

    def describe_wait(self) -> str | None:
        """Returns why the Job has not begun, or None. The log has the details: they name nodes and images."""
        work = self._work
        if work is None or self.poll() is not None or not work.job.waiting_reason:
            return None
        if work.job.is_unschedulable:
            return "no node of its cluster has room for it"
        return "its container cannot start; the site's log has the reason"

    def _end_work(self) -> None:
        if self._work is None:
            return
        self._work.stopping.set()
        self._work.thread.join(_MAX_STOPPING_SECONDS)
        self._work = None

    def _run(self, work: _Work) -> None:
        """Runs a Job to its verdict; the target of the work's thread."""
        job = work.job

        def on_verdict(job: ClientJob, verdict: Verdict) -> None:
            work.code = _exit_code(job, verdict)
            if verdict.reason:
                self._progress.message(f"{job.spec.name}: {verdict.outcome}: {verdict.reason}")

        def find_cut_off() -> CutOff | None:
            return CutOff(Outcome.CUT_OFF, "the agent stopped it") if work.stopping.is_set() else None

        try:
            self._remove_jobs(keep=job.spec.name)
            job.start(self._cluster)
            JobFollower(self._cluster, [job], self._progress, on_verdict, find_cut_off).follow()
        except ClusterError as error:
            self._progress.message(f"{job.spec.name}: {error}")

    def _remove_jobs(self, keep: str = "") -> None:
        """Deletes the site's Jobs except one, and waits until their pods have ended.

        Two workers at the same time would write to the same folder.
        """
        labels = selector(self._labels, *self._labels)
        namespace = self._settings.namespace
        for state in map(read_job, self._cluster.list_objects(namespace, JOBS, labels).items):
            if state.name != keep:
                self._cluster.delete_job(namespace, state.name, state.uid, keep_until_pods_end=True)
        give_up_at = time.monotonic() + _MAX_ENDING_SECONDS
        while pods := self._running_pods(labels, keep):
            if time.monotonic() > give_up_at:
                raise ClusterError(
                    f"pod {pods[0]} in namespace {namespace} was deleted and does not end; look at its node"
                )
            time.sleep(_POLL_SECONDS)

    def _running_pods(self, labels: str, keep: str) -> list[str]:
        pods = self._cluster.list_objects(self._settings.namespace, PODS, labels).items
        return [
            pod["metadata"]["name"]
            for pod in pods
            if pod["metadata"]["labels"].get("batch.kubernetes.io/job-name") != keep
            and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]


def work_job(assignment: AssignmentRecord) -> JobSpec:
    """Returns the Job in which a site does what an assignment says."""
    return JobSpec(
        component=_COMPONENT,
        client=assignment.site,
        run=assignment.run,
        round_number=assignment.round,
        key=f"{assignment.identity} {assignment.base_digest} {assignment.attempt}",
        arguments=(),
        gpus=assignment.gpus if assignment.round else 0,
        retries=0,
        deadline_seconds=assignment.deadline_seconds,
    )


def _exit_code(job: ClientJob, verdict: Verdict) -> int:
    if verdict.outcome is Outcome.OK:
        return 0
    ended = [pod for pod in job.attempts if pod.exit_code]
    if not ended or ended[-1].exit_code is None:
        return _MAY_SUCCEED
    # 137 tells the agent that memory ran out. A pod that was deleted or evicted ends with it too.
    was_killed = ended[-1].exit_code == _SIGKILL and ended[-1].exit_reason != "OOMKilled"
    return _MAY_SUCCEED if was_killed else ended[-1].exit_code
