"""Follows clients' Jobs until each has a verdict."""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedvsr.cluster.api import EVENTS, JOBS, PODS, Cluster
from fedvsr.cluster.client_job import ClientJob, CutOff, Phase
from fedvsr.cluster.job_spec import COMPONENT_LABEL, NAME_LABEL, ROUND_LABEL, RUN_LABEL, selector
from fedvsr.cluster.log_follower import LogFollower
from fedvsr.cluster.states import JobState, PodState, read_job, read_pod
from fedvsr.cluster.verdict import Verdict, attempt_failure, reach_verdict
from fedvsr.cluster.watcher import Changed, Listed, Watcher, WatchEvent, WatchFailed
from fedvsr.errors import ClusterError
from fedvsr.federation.records import Outcome
from fedvsr.progress import Progress
from fedvsr.text import printable

_MAX_QUEUED_EVENTS, _JOIN_SECONDS = 10_000, 5.0
# What ends the remaining Jobs may come from outside, such as deliveries of clients without Jobs.
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.01, 5.0


@dataclass(frozen=True)
class _LogLine:
    job: ClientJob
    text: str


@dataclass(frozen=True)
class _LogEnded:
    job: ClientJob
    pod: str


_Event = WatchEvent | _LogLine | _LogEnded


class JobFollower:
    """Follows several started Jobs: handles an event, updates its `ClientJob`, then runs the due actions.

    Args:
        cluster: The cluster.
        jobs: The Jobs, at most one per client.
        progress: Receives each client's log lines, and why its work has not begun.
        on_verdict: Called once for each Job, when its verdict is known.
        find_cut_off: Returns why the remaining Jobs must be ended, or None. Called after every event, and
            every few seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        jobs: Sequence[ClientJob],
        progress: Progress,
        on_verdict: Callable[[ClientJob, Verdict], None],
        find_cut_off: Callable[[], CutOff | None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._jobs = tuple(jobs)
        self._progress = progress
        self._on_verdict = on_verdict
        self._find_cut_off = find_cut_off
        self._events: queue.Queue[_Event] = queue.Queue(_MAX_QUEUED_EVENTS)
        self._logs: dict[tuple[str, str], LogFollower] = {}
        self._reported: set[str] = set()
        self._stopping = False

    def follow(self) -> None:
        """Waits until every Job has its verdict, and deletes the Jobs from the cluster."""
        for job in self._jobs:
            job.enter_running(time.monotonic())
        watchers = self._watchers()
        try:
            for watcher in watchers:
                watcher.start()
            self._run_due_actions()
            while self._unsettled():
                event = self._next_event()
                if event is not None:
                    self._handle(event)
                self._run_due_actions()
        finally:
            self._stop(watchers)

    def _watchers(self) -> list[Watcher]:
        selectors = {job.namespace: _selector(job) for job in self._jobs if not job.has_ended}
        return [
            Watcher(self._cluster, kind, namespace, labels, self._put_event)
            for namespace, labels in selectors.items()
            for kind in (JOBS, PODS)
        ]

    def _put_event(self, event: _Event) -> None:
        """Queues an event; called in the threads of the watchers and of the log followers."""
        while not self._stopping:
            try:
                self._events.put(event, timeout=1)
            except queue.Full:
                continue
            return

    def _next_event(self) -> _Event | None:
        """Returns the next event, or None if none arrives for some seconds or before an action is due."""
        wait = min(job.next_due for job in self._unsettled()) - time.monotonic()
        try:
            return self._events.get(timeout=min(max(_MIN_WAIT_SECONDS, wait), _MAX_WAIT_SECONDS))
        except queue.Empty:
            return None

    def _unsettled(self) -> list[ClientJob]:
        return [job for job in self._jobs if job.phase is not Phase.SETTLED]

    def _stop(self, watchers: Sequence[Watcher]) -> None:
        self._stopping = True
        threads: list[Watcher | LogFollower] = [*watchers, *self._logs.values()]
        for thread in threads:
            thread.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_JOIN_SECONDS)

    # Events.

    def _handle(self, event: _Event) -> None:
        match event:
            case _LogLine():
                self._progress.message(f"{event.job.client} | {event.text}")
            case _LogEnded():
                self._logs.pop((event.job.client, event.pod), None)
            case WatchFailed():
                self._handle_watch_failure(event)
            case Listed() if event.kind == JOBS:
                self._handle_listed_jobs(event)
            case Listed():
                self._handle_listed_pods(event)
            case Changed() if event.kind == JOBS:
                self._handle_changed_job(event)
            case Changed():
                self._handle_changed_pod(event)

    def _handle_watch_failure(self, event: WatchFailed) -> None:
        for job in self._jobs:
            if job.is_open and job.namespace == event.namespace:
                self._end(job, CutOff(Outcome.FAILED, str(event.error)))

    def _handle_listed_jobs(self, event: Listed) -> None:
        states = {state.uid: state for state in map(read_job, event.items)}
        for job, last_state in self._created_jobs(event.namespace):
            if last_state.uid in states:
                job.observe(states[last_state.uid])
            else:
                job.observe_missing()

    def _handle_changed_job(self, event: Changed) -> None:
        state = read_job(event.item)
        for job, last_state in self._created_jobs(event.namespace):
            if last_state.uid == state.uid:
                job.observe(state, deleted=event.deleted)

    def _handle_listed_pods(self, event: Listed) -> None:
        pods = [read_pod(item) for item in event.items]
        for job, state in self._created_jobs(event.namespace):
            for pod in pods:
                if pod.job_uid == state.uid:
                    self._observe_attempt(job, pod)
            job.observe_listed_attempts([pod.uid for pod in pods])
        self._report_all_waiting()

    def _handle_changed_pod(self, event: Changed) -> None:
        pod = read_pod(event.item)
        for job, state in self._created_jobs(event.namespace):
            if pod.job_uid == state.uid:
                self._observe_attempt(job, pod, deleted=event.deleted)
        self._report_all_waiting()

    def _created_jobs(self, namespace: str) -> list[tuple[ClientJob, JobState]]:
        return [(job, job.state) for job in self._jobs if job.state and job.namespace == namespace]

    def _observe_attempt(self, job: ClientJob, pod: PodState, *, deleted: bool = False) -> None:
        """Updates the Job's attempts, and follows a pod's log from its start to its end."""
        had_run = any(attempt.uid == pod.uid and attempt.has_run for attempt in job.attempts)
        job.observe_attempt(pod, deleted=deleted)
        key = (job.client, pod.name)
        if pod.has_run and not had_run and key not in self._logs:
            self._logs[key] = self._follow_log(job, pod.name)
        if key in self._logs and (deleted or pod.has_ended):
            self._logs[key].mark_pod_ended()

    def _follow_log(self, job: ClientJob, pod: str) -> LogFollower:
        follower = LogFollower(
            self._cluster,
            job.namespace,
            pod,
            on_line=lambda text: self._put_event(_LogLine(job, text)),
            on_end=lambda: self._put_event(_LogEnded(job, pod)),
        )
        follower.start()
        return follower

    def _open_logs(self, job: ClientJob) -> list[LogFollower]:
        return [log for (client, _), log in self._logs.items() if client == job.client]

    def _report_all_waiting(self) -> None:
        for job in self._jobs:
            self._report_waiting(job)

    def _report_waiting(self, job: ClientJob) -> None:
        """Reports once why a client's work has not begun, and why each earlier attempt failed."""
        if job.phase is Phase.SETTLED:
            return
        if not job.has_ended and job.cut_off is None and job.waiting_reason:
            self._report_once(f"{job.client}: {job.waiting_reason}")
        for pod in job.attempts[:-1]:
            failure = attempt_failure(job, pod)
            self._report_once(f"{job.client}: {pod.name} failed, Kubernetes tries again: {failure}")

    def _report_once(self, line: str) -> None:
        if line not in self._reported:
            self._reported.add(line)
            self._progress.message(line)

    # Actions.

    def _run_due_actions(self) -> None:
        for job in self._unsettled():
            now = time.monotonic()
            if job.is_overdue(now):
                self._give_up(job)
            if job.is_refusal_look_due(now):
                job.postpone_refusal_look(now)
                self._look_for_refusal(job)
            if job.is_draining_due(now):
                self._start_draining(job, now)
            if self._is_settling_due(job, now):
                self._settle(job)
        self._cut_off_rest()

    def _is_settling_due(self, job: ClientJob, now: float) -> bool:
        return job.phase is Phase.DRAINING and (now >= job.phase_ends_at or not self._open_logs(job))

    def _give_up(self, job: ClientJob) -> None:
        late = f"its Job did not end although its {job.spec.deadline_seconds} s were over"
        self._end(job, CutOff(Outcome.TIMED_OUT, late))

    def _end(self, job: ClientJob, cut_off: CutOff) -> None:
        """Deletes a running Job; it stays in the API until its pods have ended."""
        job.enter_ending(cut_off, time.monotonic())
        if job.state:
            self._delete(job.state, keep_until_pods_end=True)

    def _look_for_refusal(self, job: ClientJob) -> None:
        """Reads from the namespace's events why the Job has no pod."""
        if job.state is None:
            return
        fields = f"involvedObject.uid={job.state.uid},reason=FailedCreate"
        try:
            events = self._cluster.list_once(job.namespace, EVENTS, field_selector=fields).items
        except ClusterError:
            return
        if events:
            message = printable(events[-1].get("message") or "")
            job.observe_refusal(f"Kubernetes makes no pod for it: {message}")
            self._report_waiting(job)

    def _start_draining(self, job: ClientJob, now: float) -> None:
        """Observes the Job's pods once more and starts to read its logs to their ends."""
        job.enter_draining(now)
        self._observe_last_attempts(job)
        for log in self._open_logs(job):
            log.mark_pod_ended()

    def _observe_last_attempts(self, job: ClientJob) -> None:
        """Lists the pods, since the watch may report a Job's end before its last pod's start or end."""
        if job.state is None or job.is_gone:
            return
        labels = f"batch.kubernetes.io/controller-uid={job.state.uid}"
        try:
            for item in self._cluster.list_objects(job.namespace, PODS, labels).items:
                self._observe_attempt(job, read_pod(item))
        except ClusterError as error:
            self._progress.message(f"{job.client}: {error}")
        if not job.attempts:
            self._look_for_refusal(job)

    def _settle(self, job: ClientJob) -> None:
        """Reports the verdict and deletes the Job."""
        job.enter_settled()
        self._on_verdict(job, reach_verdict(job))
        if job.state and not job.is_gone:
            self._delete(job.state, keep_until_pods_end=False)

    def _cut_off_rest(self) -> None:
        """Ends the remaining Jobs if they are no longer needed."""
        unsettled = self._unsettled()
        cut_off = self._find_cut_off() if unsettled else None
        if cut_off is None:
            return
        for job in unsettled:
            if job.phase is Phase.RUNNING and not job.has_ended:
                self._end(job, cut_off)

    def _delete(self, state: JobState, *, keep_until_pods_end: bool) -> None:
        try:
            self._cluster.delete_job(
                state.namespace, state.name, state.uid, keep_until_pods_end=keep_until_pods_end
            )
        except ClusterError as error:
            # Kubernetes deletes it after a day. The client's outcome does not depend on it.
            self._progress.message(str(error))


def _selector(job: ClientJob) -> str:
    return selector(job.spec.labels, NAME_LABEL, COMPONENT_LABEL, RUN_LABEL, ROUND_LABEL)
