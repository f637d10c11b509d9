"""The site's agent: asks the federation for work, lets the policy decide, and runs the worker."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import fedvsr
from fedvsr.cluster.job_spec import PERMANENT_FAILURE
from fedvsr.errors import (
    AccessDeniedError,
    CredentialsError,
    DataError,
    NotFoundError,
    RecordError,
    SiteError,
    StoreError,
)
from fedvsr.federation import layout
from fedvsr.federation.records import read_record, write_record
from fedvsr.federation.runs import find_run
from fedvsr.federation.site_records import (
    HEARTBEAT_SECONDS,
    POLL_SECONDS,
    AnswerRecord,
    AssignmentRecord,
    HeartbeatRecord,
    SiteState,
)
from fedvsr.site.answers import write_answer
from fedvsr.site.assignments import Assignments, SiteAssignment, run_and_round
from fedvsr.site.folder import SiteFolder
from fedvsr.site.launcher import Launcher
from fedvsr.site.policy import Decision, Situation, Verdict, decide
from fedvsr.site.settings import SiteSettings
from fedvsr.store.base import Store
from fedvsr.text import printable
from fedvsr.waiting import backoff_seconds

SECOND_AGENT_SECONDS = 3 * HEARTBEAT_SECONDS
"""An agent in another folder counts as running if its last heartbeat is younger."""

# After work, the next round's assignment often comes within seconds.
_BUSY_POLL_SECONDS, _BUSY_SECONDS = 2.0, 120.0
# If the federation does not answer. The waits grow, and no two sites keep in step.
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 5.0, 60.0
# How often it is looked whether the worker has ended.
_WORKER_POLL_SECONDS = 0.2
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 5.0, 60.0

_REFUSED = (
    "the federation refuses this site's keys: they were revoked, replaced or have expired; ask the operator "
    "for a new invitation, and run `fedvsr site join` with it"
)


class Agent:
    """Takes part in a federation until it is stopped.

    Args:
        folder: The site's folder.
        settings: The site's settings.
        site: The site's name.
        store: The federation's store, as the site may use it.
        launcher: Runs the worker.
        gpus: The names of the GPUs that the site may use.
        log: Receives lines about what the agent does.
        poll_seconds: Seconds between two looks for work when idle.
        busy_poll_seconds: The same, for a while after work.
    """

    def __init__(
        self,
        folder: SiteFolder,
        settings: SiteSettings,
        site: str,
        store: Store,
        launcher: Launcher,
        *,
        gpus: Iterable[str] = (),
        log: Callable[[str], None] = print,
        poll_seconds: float = POLL_SECONDS,
        busy_poll_seconds: float = _BUSY_POLL_SECONDS,
    ) -> None:
        self._folder, self._settings, self._site = folder, settings, site
        self._store, self._launcher, self._log = store, launcher, log
        self._gpus = tuple(gpus)
        self._poll_seconds, self._busy_poll_seconds = poll_seconds, busy_poll_seconds
        self._agent = folder.agent.model_copy(update={"process": os.getpid(), "activity": "idle"})
        self._assignments = Assignments(store, site)
        self._work: SiteAssignment | None = None
        self._busy_until = 0.0
        self._may_have_left_work = True
        self._next_heartbeat = 0.0
        self._failures = 0

    def run(self, stop: threading.Event) -> None:
        """Polls for work and does it until ``stop`` is set.

        Raises:
            fedvsr.errors.SiteError: Another agent takes part as this site, or the folder cannot be written.
        """
        with self._folder.locked():
            self._folder.agent = self._agent
            self._log(f"site {self._site}: looks for work every {self._poll_seconds:.0f} s")
            try:
                while not stop.is_set():
                    self._wait(stop, self._poll())
            finally:
                self._launcher.stop()
                self._remember(activity="stopped")
                self._log(f"site {self._site}: stopped")

    def _poll(self) -> float:
        """Looks at the federation once. Returns the seconds until the next look."""
        try:
            self._beat()
            self._look_for_work()
        except StoreError as error:
            return self._back_off(error)
        if self._agent.trouble:
            self._log(f"site {self._site}: the federation answers again")
        self._failures = 0
        self._remember(trouble="", last_contact=time.time())
        is_busy = self._work is not None or time.monotonic() < self._busy_until
        return self._busy_poll_seconds if is_busy and not self._work else self._poll_seconds

    def _wait(self, stop: threading.Event, seconds: float) -> None:
        """Waits until the next look, or until the worker has ended.

        While the federation does not answer, the worker's end cannot be told, so it is no reason to look.
        """
        until = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < until:
            if self._work is None or self._work.next_attempt or self._failures:
                stop.wait(min(until - time.monotonic(), 1.0))
            elif self._launcher.poll() is not None:
                return
            else:
                stop.wait(_WORKER_POLL_SECONDS)

    def _back_off(self, error: StoreError) -> float:
        """Tells why the federation does not answer, once. Returns the seconds to wait: longer every time."""
        refused = isinstance(error, AccessDeniedError | CredentialsError)
        trouble = printable(_REFUSED if refused else str(error))
        if trouble != self._agent.trouble:
            self._log(f"site {self._site}: {trouble}; it is tried again")
        self._remember(trouble=trouble)
        if self._work and time.monotonic() > self._work.deadline:
            self._stop_work("its time is over")
        self._failures += 1
        return backoff_seconds(self._failures, _MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)

    def _beat(self) -> None:
        """Writes the heartbeat if it is due, unless another agent wrote the last one."""
        now = time.monotonic()
        if now < self._next_heartbeat:
            return
        self._refuse_second_agent()
        heartbeat = HeartbeatRecord(
            site=self._site,
            agent=self._agent.agent,
            fedvsr_version=fedvsr.__version__,
            activity=self._agent.activity,
            free_disk_bytes=self._folder.free_disk_bytes,
            gpus=self._gpus,
        )
        write_record(self._store, layout.heartbeat(self._site), heartbeat)
        self._next_heartbeat = now + HEARTBEAT_SECONDS

    def _refuse_second_agent(self) -> None:
        """Raises SiteError if another agent takes part as this site.

        If two run already, because they started at the same moment, the one with the smaller identity stays.
        """
        key = layout.heartbeat(self._site)
        try:
            other = read_record(self._store, key, HeartbeatRecord).agent
        except (NotFoundError, DataError):
            return
        if other == self._agent.agent:
            return
        age = self._store.age(key)
        is_first_beat = self._next_heartbeat == 0.0
        if age < SECOND_AGENT_SECONDS and (is_first_beat or other < self._agent.agent):
            raise SiteError(
                f"another agent takes part as site {self._site!r}: it was heard of {age:.0f} s ago. Stop it, "
                "or ask the operator for new keys with `fedvsr sites rotate` if you do not know it"
            )

    def _look_for_work(self) -> None:
        asked = self._assignments.read()
        if self._work and self._work.digest not in asked:
            self._leave(self._work)
        if self._work:
            self._look_at_work(self._work)
        for entry in asked.values():
            if not entry.is_finished and entry is not self._work:
                self._consider(entry)
        if self._may_have_left_work and self._work is None:
            # A worker on Kubernetes outlives an agent that is killed, and nobody asks for its work any more.
            self._launcher.stop()
        self._may_have_left_work = False
        activity = self._activity()
        if activity != self._agent.activity and "paused" in (activity, self._agent.activity):
            self._log(f"site {self._site}: {activity}")
        self._remember(activity=activity)

    def _leave(self, work: SiteAssignment) -> None:
        """Ends work that the federation does not ask for any more: it is done, or nobody waits for it."""
        answer = self._assignments.find_answer(work)
        if answer and answer.state is SiteState.DONE:
            self._launcher.stop()
            self._conclude(work, 0)
        else:
            self._stop_work("the federation does not wait for it any more")

    def _consider(self, entry: SiteAssignment) -> None:
        """Answers an assignment that is not worked on, and begins the work if the policy accepts it."""
        decision = self._decide(entry)
        if decision.verdict is Verdict.DECLINE:
            self._answer(entry, SiteState.DECLINED, decision.reason)
            entry.is_finished = True
        elif decision.verdict is Verdict.WAIT:
            self._answer(entry, SiteState.WAITING, decision.reason)
        elif self._work:
            self._answer(entry, SiteState.WAITING, f"for the end of its work on {self._work.name}")
        else:
            self._answer(entry, SiteState.ACCEPTED)
            self._begin(entry)

    def _decide(self, entry: SiteAssignment) -> Decision:
        assignment = entry.assignment
        if assignment is None or entry.problem:
            return Decision(Verdict.DECLINE, entry.problem)
        if self._folder.is_paused:
            return Decision(Verdict.WAIT, "its owner paused it")
        try:
            entry.record = entry.record or find_run(self._store, assignment.run)
        except RecordError as error:
            return Decision(
                Verdict.DECLINE,
                f"its fedvsr {fedvsr.__version__} cannot read the run of fedvsr {assignment.fedvsr_version}: "
                f"{error}; upgrade the older of the two",
            )
        if entry.record is None or entry.record.identity != assignment.identity:
            return Decision(
                Verdict.DECLINE,
                "the run's settings in the store are not those that the round was planned for",
            )
        today = self._now().date()
        rounds = set(self._folder.rounds_of(today)) - {_round_name(assignment)}
        situation = Situation(
            now=self._now(),
            seconds_left=entry.deadline - time.monotonic(),
            approved=set(self._folder.approvals.values()),
            rounds_today=len(rounds),
            free_disk_bytes=self._folder.free_disk_bytes,
        )
        return decide(self._settings, assignment, entry.record, situation)

    def _begin(self, entry: SiteAssignment) -> None:
        assignment = entry.assignment
        if assignment is None:
            return
        self._folder.assignment = assignment
        if assignment.round:
            self._folder.begin_round(self._now().date(), _round_name(assignment))
        entry.began, entry.attempts, entry.next_attempt = time.monotonic(), 1, 0.0
        self._work = entry
        self._log(f"{entry.name}: begins")
        self._launcher.start(assignment)

    def _look_at_work(self, work: SiteAssignment) -> None:
        """Looks whether the worker has ended, may go on, and may be tried again."""
        decision = self._decide(work)
        if time.monotonic() > work.deadline:
            self._stop_work("its time is over")
        elif decision.verdict is not Verdict.ACCEPT:
            self._stop_work(decision.reason)
        elif work.next_attempt:
            if time.monotonic() >= work.next_attempt and work.assignment:
                work.next_attempt = 0.0
                work.attempts += 1
                self._log(f"{work.name}: attempt {work.attempts}")
                self._launcher.start(work.assignment)
        else:
            code = self._launcher.poll()
            if code is not None:
                self._conclude(work, code)
            else:
                self._tell_wait(work)

    def _tell_wait(self, work: SiteAssignment) -> None:
        reason = self._launcher.describe_wait()
        if reason:
            self._answer(work, SiteState.WAITING, reason)

    def _conclude(self, work: SiteAssignment, code: int) -> None:
        """Ends the work of a worker that has ended, or has it tried again."""
        if code == 0:
            self._log(f"{work.name}: done in {time.monotonic() - work.began:.1f} s")
            self._end(work)
            return
        result = self._folder.result
        told = result.told if result else _describe_exit(code)
        retries = work.assignment.retries if work.assignment else 0
        if code != PERMANENT_FAILURE and work.attempts <= retries:
            wait = backoff_seconds(work.attempts - 1, _MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS)
            self._log(
                f"{work.name}: attempt {work.attempts} failed ({told}); the next begins in {wait:.0f} s"
            )
            self._answer(work, SiteState.WAITING, f"to try again after: {told}")
            work.next_attempt = time.monotonic() + wait
            return
        self._log(f"{work.name}: failed: {result.reason if result else told}")
        self._answer(work, SiteState.FAILED, told)
        self._end(work)

    def _end(self, work: SiteAssignment) -> None:
        work.is_finished = True
        self._work = None
        self._busy_until = time.monotonic() + _BUSY_SECONDS

    def _stop_work(self, reason: str) -> None:
        work = self._work
        if work is None:
            return
        self._launcher.stop()
        self._work = None
        self._busy_until = time.monotonic() + _BUSY_SECONDS
        # The worker has answered since, so the next answer is a new one whatever it says.
        work.told = None
        self._log(f"{work.name}: stopped: {reason}")

    def _answer(self, entry: SiteAssignment, state: SiteState, reason: str = "") -> None:
        """Writes an answer, unless the last one said the same."""
        if entry.told and (entry.told.state, entry.told.reason) == (state, printable(reason)):
            return
        seconds = time.monotonic() - entry.began if state is SiteState.FAILED else 0.0
        run, round_number = run_and_round(entry.key)
        answer = AnswerRecord(
            run=run,
            round=round_number,
            site=self._site,
            assignment_digest=entry.digest,
            state=state,
            reason=reason,
            seconds=seconds,
        )
        write_answer(self._store, answer)
        entry.told = answer
        if state is not SiteState.FAILED:
            self._log(f"{entry.name}: {answer.describe()}")

    def _activity(self) -> str:
        if self._work:
            return self._work.name
        return "paused" if self._folder.is_paused else "idle"

    def _remember(self, **changes: object) -> None:
        """Updates agent.json, which `fedvsr site status` reads."""
        self._agent = self._agent.model_copy(update=changes)
        try:
            self._folder.agent = self._agent
        except StoreError as error:
            raise SiteError(f"the site's folder cannot be written: {error}") from error

    def _now(self) -> datetime:
        hours = self._settings.policy.opening_hours
        return datetime.now(UTC).astimezone(hours.zone if hours else None)


def _round_name(assignment: AssignmentRecord) -> str:
    return f"{assignment.run}/{assignment.round}" if assignment.round else ""


def _describe_exit(code: int) -> str:
    if code in (-9, 137):
        return "its worker was killed, most likely because memory ran out"
    return f"its worker ended with code {code}; the site's log has more"
