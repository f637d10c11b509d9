"""What became of a client's Job, in Kubernetes' own words where it has some."""

import signal
from dataclasses import dataclass
from datetime import UTC, datetime

from fedvsr.cluster.course import Course
from fedvsr.cluster.states import PodState, last_line
from fedvsr.federation.records import Outcome
from fedvsr.text import printable

# A process that a signal ended is given 128 more than the signal's number.
_SIGNALS = 128


@dataclass(frozen=True)
class Judgement:
    """What became of a Job.

    Attributes:
        outcome: What the round's record calls it.
        reason: Why it is not ok, or what went wrong before it was.
        seconds: From the Job's start to its end, or to now.
    """

    outcome: Outcome
    reason: str
    seconds: float


def judge(course: Course) -> Judgement:
    """Says what became of a Job that has ended or was ended."""
    outcome, reason = _judge(course)
    job = course.job
    seconds = 0.0
    if job and job.started:
        seconds = job.seconds or max(0.0, (datetime.now(UTC) - job.started).total_seconds())
    return Judgement(outcome, reason, seconds)


def why_failed(course: Course, pod: PodState) -> str:
    """Says why a try failed; empty where it did not."""
    vanished = pod.uid in course.vanished and pod.phase not in ("Succeeded", "Failed")
    if pod.reason == "Evicted":
        return f"Evicted: {pod.message.rstrip('.')}"
    if pod.exit_reason == "OOMKilled":
        limit = f" of {pod.memory_limit}" if pod.memory_limit else ""
        return f"OOMKilled: it needed more memory than its limit{limit} (exit code {pod.exit_code})"
    if pod.disruption:
        return pod.disruption
    if (pod.deleting or vanished) and (pod.exit_code is None or pod.exit_code > _SIGNALS):
        return "the pod was deleted" + _exit_code(pod)
    if pod.exit_code:
        said = last_line(pod.exit_message)
        return f"{_exit_code(pod).strip(' ()')}{f': {said}' if said else ''}"
    if pod.phase == "Failed":
        return printable(f"{pod.reason}: {pod.message}".strip(": ")) or "the pod failed without a reason"
    return ""


def _judge(course: Course) -> tuple[Outcome, str]:
    job, waiting = course.job, course.waiting
    if course.refused or job is None:
        return Outcome.FAILED, course.refusal
    if course.succeeded:
        failures = _failures(course)
        if not failures:
            return Outcome.OK, ""
        return Outcome.OK, f"ok after {_times(len(failures), 'retry', 'retries')}: {_join(failures)}"
    if course.cut and course.cut.outcome is not Outcome.TIMED_OUT:
        return course.cut.outcome, _with(course.cut.reason, waiting)
    if course.cut or job.reason == "DeadlineExceeded":
        return _late(course, waiting)
    if course.gone and not job.ended:
        return Outcome.FAILED, _with("its Job was deleted by somebody else", waiting)
    failures = _failures(course)
    if not failures:
        return Outcome.FAILED, printable(f"{job.reason}: {job.message}")
    if len(failures) > 1:
        return Outcome.FAILED, f"{_join(failures)}, {_times(len(failures), 'try', 'tries')}"
    return Outcome.FAILED, failures[0]


def _late(course: Course, waiting: str) -> tuple[Outcome, str]:
    limit = f"{course.spec.deadline_seconds} s"
    if waiting:
        outcome = Outcome.UNSCHEDULABLE if course.unschedulable else Outcome.FAILED
        return outcome, f"{waiting} (for all of its {limit})"
    if course.cut:
        return course.cut.outcome, course.cut.reason
    # The last try did not fail: it was taken down because the time was over.
    failures = [why for why in (why_failed(course, pod) for pod in course.tries()[:-1]) if why]
    return Outcome.TIMED_OUT, _with(f"its {limit} were over", _join(failures))


def _failures(course: Course) -> list[str]:
    """Why each of its tries failed that did; those that nobody saw are told by their number."""
    seen = [why for why in (why_failed(course, pod) for pod in course.tries()) if why]
    job = course.job
    unseen = (job.failed if job else 0) - len(seen)
    return seen + ["a pod was deleted before it was seen"] * unseen


def _join(reasons: list[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))


def _with(reason: str, more: str) -> str:
    return f"{reason}; {more}" if more else reason


def _times(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _exit_code(pod: PodState) -> str:
    code = pod.exit_code
    if code is None:
        return ""
    signals = {_SIGNALS + each: f", {each.name}" for each in signal.Signals}
    return f" (exit code {code}{signals.get(code, '')})"
