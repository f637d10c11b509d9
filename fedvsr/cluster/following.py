"""Keeps up with clients' Jobs until each has ended or is cut off."""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fedvsr.cluster.api import EVENTS, JOBS, PODS, Cluster
from fedvsr.cluster.course import Course, CutOff
from fedvsr.cluster.job import COMPONENT_LABEL, NAME_LABEL, ROUND_LABEL, RUN_LABEL, selector
from fedvsr.cluster.logs import LogFollower
from fedvsr.cluster.outcome import Judgement, judge, why_failed
from fedvsr.cluster.states import JobState, PodState, read_job, read_pod
from fedvsr.cluster.watching import Blind, Changed, Listed, Sight, Watcher
from fedvsr.errors import ClusterError
from fedvsr.federation.records import Outcome
from fedvsr.progress import Progress
from fedvsr.text import printable

# How much later than its deadline a Job is waited for: Kubernetes ends it by itself, if it can.
_LATE_SECONDS = 60.0
# How long the last lines of a log, or the pods of a Job that was cut off, are waited for.
_DRAIN_SECONDS, _END_SECONDS = 15.0, 30.0
# A Job without a pod has a reason, which is in the namespace's events after a moment.
_LOOK_SECONDS, _LOOK_AGAIN_SECONDS = 3.0, 30.0
_QUEUE, _JOIN_SECONDS = 10_000, 5.0


@dataclass(frozen=True)
class _Line:
    course: Course
    text: str


@dataclass(frozen=True)
class _LogEnded:
    course: Course
    pod: str


@dataclass
class _Track:
    """What following one course takes beside what is seen of it."""

    course: Course
    give_up: float
    look: float
    logs: dict[str, LogFollower] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    drained_by: float | None = None
    gone_by: float | None = None
    settled: bool = False


class Following:
    """Several clients' Jobs that were started, followed together.

    Args:
        cluster: The cluster.
        courses: The clients' Jobs, each of another client.
        progress: Shows each client's log and what it waits for.
    """

    def __init__(self, cluster: Cluster, courses: Sequence[Course], progress: Progress) -> None:
        self._cluster = cluster
        self._courses = tuple(courses)
        self._progress = progress
        self._events: queue.Queue[Sight | _Line | _LogEnded] = queue.Queue(_QUEUE)
        self._tracks: list[_Track] = []
        self._stopping = False

    def wait(
        self,
        on_end: Callable[[Course, Judgement], None],
        enough: Callable[[], CutOff | None] = lambda: None,
    ) -> None:
        """Waits until every Job has ended; then none is left on the cluster.

        Args:
            on_end: Called once for each course, when it is known what became of it.
            enough: Says, after each end, whether and why the others are to be cut off.
        """
        now = time.monotonic()
        self._tracks = [_Track(each, self._give_up(each, now), now + _LOOK_SECONDS) for each in self._courses]
        watchers = self._watchers()
        try:
            for watcher in watchers:
                watcher.start()
            while self._settle(on_end, enough):
                self._take(self._next())
        finally:
            self._stop(watchers)

    def _give_up(self, course: Course, now: float) -> float:
        age = 0.0
        if course.job and course.taken_over:
            age = (datetime.now(UTC) - course.job.created).total_seconds()
        return now + course.spec.deadline_seconds - max(0.0, age) + _LATE_SECONDS

    def _watchers(self) -> list[Watcher]:
        namespaces = {each.settings.namespace: each for each in self._courses if not each.has_ended}
        return [
            Watcher(self._cluster, kind, namespace, _selector(course), self._emit)
            for namespace, course in namespaces.items()
            for kind in (JOBS, PODS)
        ]

    def _emit(self, event: Sight | _Line | _LogEnded) -> None:
        while not self._stopping:
            try:
                self._events.put(event, timeout=1)
            except queue.Full:
                continue
            return

    def _next(self) -> Sight | _Line | _LogEnded | None:
        moments = [moment for track in self._tracks if not track.settled for moment in _moments(track)]
        try:
            return self._events.get(timeout=max(0.01, min(moments) - time.monotonic()))
        except queue.Empty:
            return None

    # What is seen.

    def _take(self, event: Sight | _Line | _LogEnded | None) -> None:
        if isinstance(event, _Line):
            self._progress.message(f"{event.course.client} | {event.text}")
        elif isinstance(event, _LogEnded):
            self._of(event.course).logs.pop(event.pod, None)
        elif isinstance(event, Blind):
            for course in self._courses:
                if course.settings.namespace == event.namespace and not course.has_ended:
                    self._end(self._of(course), CutOff(Outcome.FAILED, str(event.error)))
        elif isinstance(event, Listed | Changed):
            self._see(event)

    def _see(self, event: Listed | Changed) -> None:
        items = event.items if isinstance(event, Listed) else (event.item,)
        gone = isinstance(event, Changed) and event.gone
        if event.kind == JOBS:
            seen = {job.uid: job for job in map(read_job, items)}
            for course in self._courses:
                job = course.job
                if job is None or job.namespace != event.namespace:
                    continue
                course.job = seen.get(job.uid, job)
                if gone if job.uid in seen else isinstance(event, Listed):
                    course.gone = True
            return
        pods = [read_pod(item) for item in items]
        for course in self._courses:
            if course.job is None or course.settings.namespace != event.namespace:
                continue
            for pod in pods:
                if pod.job_uid == course.job.uid:
                    self._see_pod(course, pod, gone=gone)
            if isinstance(event, Listed):
                course.vanished |= course.pods.keys() - {pod.uid for pod in pods}
        for course in self._courses:
            self._tell_waiting(course)

    def _see_pod(self, course: Course, pod: PodState, *, gone: bool) -> None:
        track = self._of(course)
        before = course.pods.get(pod.uid)
        course.see(pod, vanished=gone)
        if pod.has_run and pod.name not in track.logs and not (before and before.has_run):
            track.logs[pod.name] = self._log(course, pod.name)
        if pod.name in track.logs and (gone or pod.phase in ("Succeeded", "Failed")):
            track.logs[pod.name].pod_ended()

    def _log(self, course: Course, pod: str) -> LogFollower:
        follower = LogFollower(
            self._cluster,
            course.settings.namespace,
            pod,
            lambda text: self._emit(_Line(course, text)),
            lambda: self._emit(_LogEnded(course, pod)),
        )
        follower.start()
        return follower

    def _tell_waiting(self, course: Course) -> None:
        """Says once why a client's work does not begin, and why it begins anew."""
        track = self._of(course)
        if track.settled:
            return
        lines = [] if course.has_ended or course.cut else [course.waiting]
        for pod in course.tries()[:-1]:
            lines.append(f"{pod.name} failed, Kubernetes tries again: {why_failed(course, pod)}")
        for line in lines:
            if line and line not in track.told:
                track.told.add(line)
                self._progress.message(f"{course.client}: {line}")

    # How it ends.

    def _settle(
        self, on_end: Callable[[Course, Judgement], None], enough: Callable[[], CutOff | None]
    ) -> bool:
        """Settles what has ended; returns whether there is more to wait for."""
        for track in self._tracks:
            if not track.settled and self._is_over(track):
                track.settled = True
                on_end(track.course, judge(track.course))
                self._clean_up(track.course)
        left = [track for track in self._tracks if not track.settled]
        cut = enough() if left else None
        for track in left if cut else ():
            if track.course.cut is None and not track.course.has_ended and cut:
                self._end(track, cut)
        return bool(left)

    def _is_over(self, track: _Track) -> bool:
        course, now = track.course, time.monotonic()
        if not course.has_ended and course.cut is None and now >= track.give_up:
            late = f"its Job did not end although its {course.spec.deadline_seconds} s were over"
            self._end(track, CutOff(Outcome.TIMED_OUT, late))
        if not course.pods and not course.has_ended and now >= track.look:
            track.look = now + _LOOK_AGAIN_SECONDS
            self._look_for_refusal(course)
        if not course.has_ended and (track.gone_by is None or now < track.gone_by):
            return False
        if track.drained_by is None:
            track.drained_by = now + _DRAIN_SECONDS
            self._look_at_the_end(course)
            for log in track.logs.values():
                log.pod_ended()
        return not track.logs or now >= track.drained_by

    def _end(self, track: _Track, cut: CutOff) -> None:
        """Deletes a Job at work; it is over when its pods are gone."""
        course, job = track.course, track.course.job
        course.cut = cut
        track.gone_by = time.monotonic() + _END_SECONDS
        if job:
            self._delete(job, wait_for_pods=True)

    def _look_for_refusal(self, course: Course) -> None:
        if course.job is None:
            return
        fields = f"involvedObject.uid={course.job.uid},reason=FailedCreate"
        try:
            events = self._cluster.list_once(EVENTS, course.settings.namespace, fields=fields).items
        except ClusterError:
            return
        if events:
            course.refusal = f"Kubernetes makes no pod for it: {printable(events[-1].get('message') or '')}"
            self._tell_waiting(course)

    def _look_at_the_end(self, course: Course) -> None:
        """Sees the pods as they ended: a Job's end may be told before that of its last pod, or its start."""
        if course.job is None or course.gone:
            return
        labels = f"batch.kubernetes.io/controller-uid={course.job.uid}"
        try:
            for item in self._cluster.list(PODS, course.settings.namespace, labels).items:
                self._see_pod(course, read_pod(item), gone=False)
        except ClusterError as error:
            self._progress.message(f"{course.client}: {error}")
        if not course.pods:
            self._look_for_refusal(course)

    def _clean_up(self, course: Course) -> None:
        if course.job and not course.gone:
            self._delete(course.job, wait_for_pods=False)

    def _delete(self, job: JobState, *, wait_for_pods: bool) -> None:
        try:
            self._cluster.delete_job(job.namespace, job.name, job.uid, wait_for_pods=wait_for_pods)
        except ClusterError as error:
            # Kubernetes removes it after a day; what became of the client is known all the same.
            self._progress.message(str(error))

    def _of(self, course: Course) -> _Track:
        return next(track for track in self._tracks if track.course is course)

    def _stop(self, watchers: Sequence[Watcher]) -> None:
        self._stopping = True
        threads: list[Watcher | LogFollower] = [
            *watchers,
            *(log for track in self._tracks for log in track.logs.values()),
        ]
        for thread in threads:
            thread.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_JOIN_SECONDS)


def _moments(track: _Track) -> list[float]:
    """When a course is to be looked at though nothing was seen."""
    if track.drained_by is not None:
        return [track.drained_by]
    if track.gone_by is not None:
        return [track.gone_by]
    return [track.give_up, *([] if track.course.pods else [track.look])]


def _selector(course: Course) -> str:
    return selector(course.spec.labels, NAME_LABEL, COMPONENT_LABEL, RUN_LABEL, ROUND_LABEL)
