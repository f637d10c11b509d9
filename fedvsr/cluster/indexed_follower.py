"""Follows an Indexed Job until each of its clients has a verdict."""

import queue
import time
from collections.abc import Callable, Sequence

from fedvsr.cluster.api import EVENTS, JOBS, PODS, Cluster
from fedvsr.cluster.client_job import ClientJob, CutOff
from fedvsr.cluster.indexed_job import IndexedJob
from fedvsr.cluster.job_spec import COMPONENT_LABEL, NAME_LABEL, ROUND_LABEL, RUN_LABEL, selector
from fedvsr.cluster.states import PodState, read_job, read_pod
from fedvsr.cluster.verdict import Verdict, attempt_failure, reach_verdict
from fedvsr.cluster.watcher import Changed, Listed, Watcher, WatchEvent, WatchFailed
from fedvsr.errors import ClusterError
from fedvsr.federation.records import Outcome
from fedvsr.progress import Progress
from fedvsr.text import printable

_MAX_QUEUED_EVENTS, _MAX_WAIT_SECONDS, _JOIN_SECONDS = 10_000, 5.0, 5.0
# Kubernetes writes an event soon after it refuses to create a pod.
_LOOK_SECONDS, _LOOK_AGAIN_SECONDS = 3.0, 30.0
# With hundreds of clients, the logs of all failures would hide what matters.
_MAX_SHOWN_LOGS, _LOG_LINES = 5, 20


class IndexedFollower:
    """Follows a started Indexed Job, and deletes it in the end.

    Args:
        cluster: The cluster.
        job: The Job.
        progress: Receives each failed attempt with its reason, the last log lines of the first ones, and why
            pods have not begun.
        on_verdict: Called once for each client of the Job, when its verdict is known.
    """

    def __init__(
        self,
        cluster: Cluster,
        job: IndexedJob,
        progress: Progress,
        on_verdict: Callable[[ClientJob, Verdict], None],
    ) -> None:
        self._cluster, self._job, self._progress, self._on_verdict = cluster, job, progress, on_verdict
        self._events: queue.Queue[WatchEvent] = queue.Queue(_MAX_QUEUED_EVENTS)
        self._settled: set[str] = set()
        self._reported: set[str] = set()
        self._shown_logs = 0
        self._next_refusal_look = 0.0
        self._stopping = False

    def follow(self) -> None:
        """Waits until every client has its verdict.

        If the process is told to end meanwhile (`SystemExit`), the Job is deleted. After any other
        interruption it goes on, and a later call can adopt it.
        """
        self._next_refusal_look = time.monotonic() + _LOOK_SECONDS
        watchers = [] if self._job.has_ended else self._watchers()
        try:
            for watcher in watchers:
                watcher.start()
            while not self._job.has_ended and time.monotonic() < self._job.ends_at:
                self._handle_next()
        except SystemExit:
            self._delete()
            raise
        finally:
            self._stop(watchers)
        if not self._job.has_ended:
            late = f"the Job did not end although its {self._job.spec.work.deadline_seconds} s were over"
            self._job.cut_off_rest(CutOff(Outcome.TIMED_OUT, late))
        self._observe_last_pods()
        self._job.cut_off_rest()
        self._settle_clients(list(self._job.clients))
        self._delete()

    def _watchers(self) -> list[Watcher]:
        labels = selector(self._job.spec.work.labels, NAME_LABEL, COMPONENT_LABEL, RUN_LABEL, ROUND_LABEL)
        return [
            Watcher(self._cluster, kind, self._job.namespace, labels, self._put_event)
            for kind in (JOBS, PODS)
        ]

    def _put_event(self, event: WatchEvent) -> None:
        """Queues an event; called in the threads of the watchers."""
        while not self._stopping:
            try:
                self._events.put(event, timeout=1)
            except queue.Full:
                continue
            return

    def _stop(self, watchers: Sequence[Watcher]) -> None:
        self._stopping = True
        for watcher in watchers:
            watcher.stop()
        for watcher in watchers:
            if watcher.ident is not None:
                watcher.join(_JOIN_SECONDS)

    def _handle_next(self) -> None:
        """Waits for an event for some seconds, and handles it."""
        if not self._job.has_pods and time.monotonic() >= self._next_refusal_look:
            self._next_refusal_look = time.monotonic() + _LOOK_AGAIN_SECONDS
            self._look_for_refusal()
        try:
            event = self._events.get(timeout=min(_MAX_WAIT_SECONDS, self._seconds_left()))
        except queue.Empty:
            return
        match event:
            case WatchFailed():
                self._give_up(event.error)
            case Listed() if event.kind == JOBS:
                self._handle_listed_jobs(event)
            case Listed():
                self._observe_listed([read_pod(item) for item in event.items])
            case Changed() if event.kind == JOBS:
                self._handle_changed_job(event)
            case Changed():
                self._observe_pod(read_pod(event.item), deleted=event.deleted)

    def _seconds_left(self) -> float:
        due = self._job.ends_at
        if not self._job.has_pods:
            due = min(due, self._next_refusal_look)
        return max(0.01, due - time.monotonic())

    # Events.

    def _give_up(self, error: ClusterError) -> None:
        """Ends the Job, since its namespace cannot be watched."""
        self._job.cut_off_rest(CutOff(Outcome.FAILED, str(error)))
        self._delete()
        self._job.observe_missing()

    def _handle_listed_jobs(self, event: Listed) -> None:
        states = {state.uid: state for state in map(read_job, event.items)}
        uid = self._job.state.uid if self._job.state else ""
        if uid in states:
            self._job.observe(states[uid])
            self._settle_clients([client for client in self._job.clients if self._job.is_settled(client)])
        else:
            self._job.observe_missing()

    def _handle_changed_job(self, event: Changed) -> None:
        state = read_job(event.item)
        if self._job.state and self._job.state.uid == state.uid:
            self._job.observe(state, deleted=event.deleted)
            self._settle_clients([client for client in self._job.clients if self._job.is_settled(client)])

    def _observe_listed(self, pods: Sequence[PodState]) -> None:
        for pod in pods:
            self._observe_pod(pod)
        self._job.observe_listed_pods(pods)

    def _observe_pod(self, pod: PodState, *, deleted: bool = False) -> None:
        client = self._job.observe_pod(pod, deleted=deleted)
        if client is None:
            return
        if client.waiting_reason:
            # Hundreds of clients may wait for the same reason.
            self._report_once(client.waiting_reason, f"{client.client}: {client.waiting_reason}")
        # The last attempt may have been ended with the Job, which is no failure.
        for attempt in client.attempts[:-1]:
            failure = attempt_failure(client, attempt)
            line = f"{client.client}: {attempt.name} failed, Kubernetes tries again: {failure}"
            if failure and self._report_once(attempt.uid, line):
                self._show_log(client, attempt)
        if self._job.is_settled(client.client):
            self._settle_clients([client.client])

    def _show_log(self, client: ClientJob, pod: PodState) -> None:
        """Shows the last lines of a failed attempt's log, if it is one of the first."""
        if pod.exit_code is None or self._shown_logs >= _MAX_SHOWN_LOGS:
            return
        try:
            lines = self._cluster.read_log_end(client.namespace, pod.name, _LOG_LINES).splitlines()
        except ClusterError as error:
            lines = [str(error)]
        self._shown_logs += bool(lines)
        for line in lines:
            self._progress.message(f"{client.client} | {printable(line)}")

    def _report_once(self, key: str, line: str) -> bool:
        """Shows a line unless one with the same key was shown; returns whether it was shown."""
        is_new = key not in self._reported
        if is_new:
            self._reported.add(key)
            self._progress.message(line)
        return is_new

    def _look_for_refusal(self) -> None:
        """Reads from the namespace's events why the Job has no pod."""
        if self._job.state is None:
            return
        fields = f"involvedObject.uid={self._job.state.uid},reason=FailedCreate"
        try:
            events = self._cluster.list_once(self._job.namespace, EVENTS, field_selector=fields).items
        except ClusterError:
            return
        if events:
            reason = f"Kubernetes makes no pod for it: {printable(events[-1].get('message') or '')}"
            self._job.observe_refusal(reason)
            self._report_once(reason, f"virtual clients: {reason}")

    # The end.

    def _observe_last_pods(self) -> None:
        """Lists the pods, since the watch may report the Job's end before its last pods' ends."""
        if self._job.state is None or self._job.is_gone:
            return
        labels = f"batch.kubernetes.io/controller-uid={self._job.state.uid}"
        try:
            for item in self._cluster.list_objects(self._job.namespace, PODS, labels).items:
                self._observe_pod(read_pod(item))
        except ClusterError as error:
            self._progress.message(str(error))
        if not self._job.has_pods:
            self._look_for_refusal()

    def _settle_clients(self, clients: Sequence[str]) -> None:
        for client in clients:
            if client not in self._settled:
                self._settled.add(client)
                job = self._job.clients[client]
                verdict = reach_verdict(job)
                if verdict.outcome is Outcome.FAILED and job.attempts:
                    self._show_log(job, job.attempts[-1])
                self._on_verdict(job, verdict)

    def _delete(self) -> None:
        try:
            self._job.delete(self._cluster)
        except ClusterError as error:
            # Kubernetes deletes it after a day. The clients' outcomes do not depend on it.
            self._progress.message(str(error))
