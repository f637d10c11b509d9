"""The verdict on a client's Job: its outcome, and the reason in Kubernetes' own words."""

import signal
from dataclasses import dataclass
from datetime import UTC, datetime

from fedvsr.cluster.client_job import ClientJob
from fedvsr.cluster.states import PodState, last_line
from fedvsr.errors import RecordError
from fedvsr.federation.records import Outcome
from fedvsr.text import printable

# A process that is ended by a signal exits with 128 plus the signal's number.
_SIGNALS = 128


@dataclass(frozen=True)
class Verdict:
    """The outcome of a Job, with its reason.

    Attributes:
        outcome: The client's outcome.
        reason: Why the outcome is not ok, or why earlier attempts failed; empty otherwise.
        seconds: Seconds from the Job's start to its end.
    """

    outcome: Outcome
    reason: str
    seconds: float


def reach_verdict(job: ClientJob) -> Verdict:
    """Returns the verdict on a Job that has ended or was ended."""
    outcome, reason = _outcome(job)
    return Verdict(outcome, reason, _seconds(job))


def _seconds(job: ClientJob) -> float:
    if job.state is None or job.state.started is None:
        return 0.0
    end = job.state.finished or _last_container_end(job) or datetime.now(UTC)
    return max(0.0, (end - job.state.started).total_seconds())


def _last_container_end(job: ClientJob) -> datetime | None:
    """Returns when the last attempt ended, a second or two before its Job; None if one has not ended."""
    ends = [pod.finished for pod in job.attempts]
    return None if None in ends else max((end for end in ends if end), default=None)


def attempt_failure(job: ClientJob, pod: PodState) -> str:
    """Returns why an attempt failed; empty if it did not."""
    was_deleted = pod.deleting or job.has_vanished(pod)
    if pod.reason == "Evicted":
        return f"Evicted: {pod.message.rstrip('.')}"
    if pod.exit_reason == "OOMKilled":
        limit = f" of {pod.memory_limit}" if pod.memory_limit else ""
        return f"OOMKilled: it needed more memory than its limit{limit} (exit code {pod.exit_code})"
    if pod.disruption:
        return pod.disruption
    if was_deleted and (pod.exit_code is None or pod.exit_code > _SIGNALS):
        return "the pod was deleted" + (f" ({_exit_code(pod.exit_code)})" if pod.exit_code else "")
    if pod.exit_code:
        message = last_line(pod.exit_message)
        return f"{_exit_code(pod.exit_code)}: {message}" if message else _exit_code(pod.exit_code)
    if pod.phase == "Failed":
        return printable(f"{pod.reason}: {pod.message}".strip(": ")) or "the pod failed without a reason"
    return ""


def read_result(job: ClientJob, verdict: Verdict) -> bytes:
    """Returns the termination message of a Job whose outcome is ok.

    Raises:
        fedvsr.errors.RecordError: The outcome is not ok; the message names the outcome and the reason.
    """
    if verdict.outcome is not Outcome.OK:
        raise RecordError(f"{verdict.outcome}: {verdict.reason}")
    return next((pod.exit_message for pod in reversed(job.attempts) if pod.exit_code == 0), "").encode()


def _outcome(job: ClientJob) -> tuple[Outcome, str]:
    state, waiting = job.state, job.waiting_reason
    if job.is_refused or state is None:
        return Outcome.FAILED, job.refusal
    failures = _failures(job)
    if job.succeeded:
        if not failures:
            return Outcome.OK, ""
        return Outcome.OK, f"ok after {_count(len(failures), 'retry', 'retries')}: {_join(failures)}"
    if job.cut_off and job.cut_off.outcome is not Outcome.TIMED_OUT:
        return job.cut_off.outcome, _append(job.cut_off.reason, waiting)
    if job.cut_off or state.reason == "DeadlineExceeded":
        return _timed_out(job, waiting)
    if job.is_gone and not state.ended:
        return Outcome.FAILED, _append("its Job was deleted by somebody else", waiting)
    if not failures:
        return Outcome.FAILED, printable(f"{state.reason}: {state.message}")
    if len(failures) > 1:
        return Outcome.FAILED, f"{_join(failures)}, {_count(len(failures), 'try', 'tries')}"
    return Outcome.FAILED, failures[0]


def _timed_out(job: ClientJob, waiting: str) -> tuple[Outcome, str]:
    limit = f"{job.spec.deadline_seconds} s"
    if waiting:
        outcome = Outcome.UNSCHEDULABLE if job.is_unschedulable else Outcome.FAILED
        return outcome, f"{waiting} (for all of its {limit})"
    if job.cut_off:
        return job.cut_off.outcome, job.cut_off.reason
    # The last attempt did not fail. It was ended because the time was over.
    failures = [failure for failure in (attempt_failure(job, pod) for pod in job.attempts[:-1]) if failure]
    return Outcome.TIMED_OUT, _append(f"its {limit} were over", _join(failures))


def _failures(job: ClientJob) -> list[str]:
    """Returns why each failed attempt failed, including attempts that Kubernetes only counts."""
    observed = [failure for failure in (attempt_failure(job, pod) for pod in job.attempts) if failure]
    unseen = (job.state.failed if job.state else 0) - len(observed)
    return observed + ["a pod was deleted before it was seen"] * unseen


def _join(reasons: list[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))


def _append(reason: str, more: str) -> str:
    return f"{reason}; {more}" if more else reason


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _exit_code(code: int) -> str:
    names = {_SIGNALS + number: f", {number.name}" for number in signal.Signals}
    return f"exit code {code}{names.get(code, '')}"
