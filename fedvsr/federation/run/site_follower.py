"""Asks sites for work through assignments in the store, and follows their answers to the end."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fedvsr.errors import DataError, NotFoundError, RecordError
from fedvsr.federation import layout
from fedvsr.federation.records import Outcome, read_untrusted_record, write_record
from fedvsr.federation.site_records import (
    HEARTBEAT_SECONDS,
    LEASE_EXPIRES_SECONDS,
    LEASE_SECONDS,
    AnswerRecord,
    AssignmentRecord,
    HeartbeatRecord,
    LeaseRecord,
    SiteRecord,
    SiteState,
    find_skew,
)
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest

OFFLINE_SECONDS = 4 * HEARTBEAT_SECONDS
"""A site is offline if its last heartbeat is older."""

# A site that starts at this moment, for example after an upgrade, can still answer.
_GRACE_SECONDS = 30.0
_MIN_POLL_SECONDS = 1.0
# So that the requests of one round do not grow with its sites.
_MAX_SITES_PER_SECOND = 10
_HEARTBEAT_POLL_SECONDS = 10.0
# Between two lines about the progress of one site.
_PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class SiteResult:
    """How an assignment ended, and the site's last answer to it; None if it never answered."""

    outcome: Outcome
    reason: str
    answer: AnswerRecord | None = None

    @property
    def seconds(self) -> float:
        return self.answer.seconds if self.answer else 0.0


@dataclass
class _OpenSite:
    """A site that has not ended its assignment."""

    assignment: AssignmentRecord
    digest: str
    began: float
    answer: AnswerRecord | None = None
    next_heartbeat_look: float = 0.0
    next_progress_line: float = 0.0
    told: set[str] = field(default_factory=set)


class SiteFollower:
    """Writes the assignments of a round, and waits until each has ended, been withdrawn or expired.

    If the process that follows is killed, its lease becomes stale and the sites stop. A later process with
    the same assignments continues; if the lease is still fresh, with the rest of their deadline.

    Args:
        store: The federation's store.
        assignments: Each site's assignment, all of one run and round.
        progress: Receives each site's answers as lines.
        on_result: Called once for each site.
        find_cut_off: Returns why the remaining sites must stop, or None.
        stop: Ends the following early when it is set.
        poll_seconds: Seconds between two looks at the answers.
    """

    def __init__(
        self,
        store: Store,
        assignments: Mapping[str, AssignmentRecord],
        progress: Progress,
        on_result: Callable[[str, SiteResult], None],
        find_cut_off: Callable[[], str | None] = lambda: None,
        stop: threading.Event | None = None,
        poll_seconds: float | None = None,
    ) -> None:
        self._store = store
        self._assignments = assignments
        self._progress = progress
        self._on_result = on_result
        self._find_cut_off = find_cut_off
        self._stop = stop or threading.Event()
        self._poll_seconds = poll_seconds or max(_MIN_POLL_SECONDS, len(assignments) / _MAX_SITES_PER_SECOND)
        self._open: dict[str, _OpenSite] = {}
        self._lease_due = 0.0
        self._began = time.monotonic()

    def follow(self) -> None:
        """Follows the sites, and takes back the assignments of those that have not ended."""
        if not self._assignments:
            return
        try:
            self._begin()
            while self._open and not self._stop.is_set():
                self._renew_lease()
                for site in list(self._open):
                    self._look(site)
                self._cut_off_rest()
                if self._open:
                    self._stop.wait(self._poll_seconds)
        finally:
            self._withdraw_rest()

    def _begin(self) -> None:
        """Writes the lease, and each assignment that is not already there under a fresh lease."""
        first = next(iter(self._assignments.values()))
        self._lease = LeaseRecord(run=first.run, round=first.round)
        self._lease_key = layout.lease(first.run, first.round)
        is_continued = self._age(self._lease_key) < LEASE_EXPIRES_SECONDS
        self._renew_lease()
        for site, assignment in self._assignments.items():
            refusal = self._find_refusal(site)
            if refusal:
                self._on_result(site, SiteResult(Outcome.FAILED, refusal))
                continue
            key, age = layout.assignment(site, assignment.run, assignment.round), 0.0
            earlier = self._find_assignment(key) if is_continued else None
            if earlier and earlier.asks_the_same(assignment):
                assignment, age = earlier, self._age(key)
            else:
                write_record(self._store, key, assignment)
            digest = bytes_digest(assignment.to_bytes())
            self._open[site] = _OpenSite(assignment, digest, time.monotonic() - age)

    def _find_refusal(self, site: str) -> str | None:
        try:
            record = SiteRecord.from_bytes(self._store.read(layout.site(site)), layout.site(site))
        except NotFoundError:
            return "it is no site of this federation any more; `fedvsr sites invite` invites it"
        return record.find_refusal(datetime.now(UTC))

    def _renew_lease(self) -> None:
        now = time.monotonic()
        if now >= self._lease_due:
            write_record(self._store, self._lease_key, self._lease)
            self._lease_due = now + LEASE_SECONDS

    def _look(self, site: str) -> None:
        """Looks at a site's answer, its deadline and its heartbeat."""
        opened, now = self._open[site], time.monotonic()
        self._read_answer(site, opened, now)
        answer = opened.answer
        if answer and answer.state.is_final:
            self._end(site, _result_of(answer))
        elif now - opened.began > opened.assignment.deadline_seconds:
            self._end(site, self._late(site, opened))
        elif now >= opened.next_heartbeat_look:
            opened.next_heartbeat_look = now + _HEARTBEAT_POLL_SECONDS
            problem = self._find_heartbeat_problem(site)
            if problem:
                self._end(site, problem)

    def _read_answer(self, site: str, opened: _OpenSite, now: float) -> None:
        assignment = opened.assignment
        key = layout.answer(site, assignment.run, assignment.round)
        try:
            answer = read_untrusted_record(self._store, key, AnswerRecord)
        except NotFoundError:
            return
        except DataError as error:
            self._tell_once(site, opened, str(error))
            return
        # An answer to an earlier assignment of this run and round, or one that names another site.
        if answer.assignment_digest != opened.digest or answer.site != site:
            return
        if answer == opened.answer:
            return
        is_new_state = opened.answer is None or opened.answer.state is not answer.state
        opened.answer = answer
        if is_new_state or now >= opened.next_progress_line:
            opened.next_progress_line = now + _PROGRESS_SECONDS
            self._progress.message(f"{site} | {answer.describe()}")

    def _find_heartbeat_problem(self, site: str) -> SiteResult | None:
        """Returns the result of a site that was revoked, is offline or speaks another protocol, or None."""
        key = layout.heartbeat(site)
        answer = self._open[site].answer
        refusal = self._find_refusal(site)
        if refusal:
            return SiteResult(Outcome.FAILED, refusal, answer)
        age = self._age(key)
        if age <= OFFLINE_SECONDS:
            try:
                heartbeat = read_untrusted_record(self._store, key, HeartbeatRecord)
            except (NotFoundError, RecordError) as error:
                return SiteResult(Outcome.DECLINED, f"its agent is of another fedvsr: {error}", answer)
            skew = find_skew(heartbeat)
            return SiteResult(Outcome.DECLINED, skew, answer) if skew else None
        if time.monotonic() - self._began < _GRACE_SECONDS:
            return None
        return SiteResult(Outcome.OFFLINE, _since(age), answer)

    def _late(self, site: str, opened: _OpenSite) -> SiteResult:
        """Returns the result of a site whose deadline has passed."""
        age = self._age(layout.heartbeat(site))
        if age > OFFLINE_SECONDS:
            return SiteResult(Outcome.OFFLINE, _since(age), opened.answer)
        state = opened.answer.describe() if opened.answer else "no answer yet"
        seconds = opened.assignment.deadline_seconds
        reason = f"the round's {seconds} s were over; its last word: {state}"
        return SiteResult(Outcome.TIMED_OUT, reason, opened.answer)

    def _cut_off_rest(self) -> None:
        reason = self._find_cut_off() if self._open else None
        if reason:
            for site, opened in list(self._open.items()):
                self._end(site, SiteResult(Outcome.CUT_OFF, reason, opened.answer))

    def _end(self, site: str, result: SiteResult) -> None:
        self._withdraw(site)
        self._on_result(site, result)

    def _withdraw(self, site: str) -> None:
        """Deletes a site's assignment. A site that still works on it stops."""
        assignment = self._open.pop(site).assignment
        self._store.delete(layout.assignment(site, assignment.run, assignment.round))

    def _withdraw_rest(self) -> None:
        for site in list(self._open):
            self._withdraw(site)
        self._store.delete(self._lease_key)

    def _tell_once(self, site: str, opened: _OpenSite, text: str) -> None:
        if text not in opened.told:
            opened.told.add(text)
            self._progress.message(f"{site} | {text}")

    def _age(self, key: str) -> float:
        """Returns the seconds since an object was written; infinity if it does not exist."""
        try:
            return self._store.age(key)
        except NotFoundError:
            return float("inf")

    def _find_assignment(self, key: str) -> AssignmentRecord | None:
        try:
            return AssignmentRecord.from_bytes(self._store.read(key), key)
        except (NotFoundError, RecordError):
            return None


def _result_of(answer: AnswerRecord) -> SiteResult:
    outcomes = {
        SiteState.DONE: Outcome.OK,
        SiteState.DECLINED: Outcome.DECLINED,
        SiteState.FAILED: Outcome.FAILED,
    }
    return SiteResult(outcomes[answer.state], answer.reason, answer)


def _since(age: float) -> str:
    if age == float("inf"):
        return "never heard of: its agent does not run or cannot reach the federation; its log says why"
    last = datetime.now(UTC) - timedelta(seconds=age)
    return f"last heard of on {last:%Y-%m-%d %H:%M:%S} UTC"
