"""The assignments that a site is asked to do."""

import time
from dataclasses import dataclass, field

import fedvsr
from fedvsr.errors import DataError, NotFoundError, RecordError
from fedvsr.federation import layout
from fedvsr.federation.records import RunRecord, read_record
from fedvsr.federation.site_records import LEASE_EXPIRES_SECONDS, AnswerRecord, AssignmentRecord, find_skew
from fedvsr.store.base import Store, bytes_digest


@dataclass
class SiteAssignment:
    """An assignment in the federation's store, and what the agent has done with it.

    Attributes:
        key: Its key.
        digest: The SHA-256 of its bytes.
        assignment: The assignment; None if this fedvsr cannot read it.
        problem: Why this fedvsr cannot do it; empty if it can.
        deadline: When its time is over, by `time.monotonic`.
        record: The run's record, once it was read.
        told: The last answer of the agent; None if there is none or the worker answered since.
        is_finished: Whether nothing more is to be done.
        attempts: How often the worker was started for it.
        next_attempt: When the worker is started again, by `time.monotonic`; 0 if it need not be.
        began: When the work began, by `time.monotonic`.
    """

    key: str
    digest: str
    assignment: AssignmentRecord | None
    problem: str = ""
    deadline: float = 0.0
    record: RunRecord | None = None
    told: AnswerRecord | None = None
    is_finished: bool = False
    attempts: int = 0
    next_attempt: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """The run and round, for messages."""
        run, round_number = run_and_round(self.key)
        return f"{run} round {round_number}" if round_number else f"{run}: shards"


class Assignments:
    """A site's assignments whose round's step is alive.

    Args:
        store: The federation's store.
        site: The site's name.
    """

    def __init__(self, store: Store, site: str) -> None:
        self._store, self._site = store, site
        self._asked: dict[str, SiteAssignment] = {}

    def read(self) -> dict[str, SiteAssignment]:
        """Returns the assignments by their digests. One that was read before is the same object.

        Raises:
            fedvsr.errors.StoreError: The federation's store does not answer or refuses.
        """
        asked: dict[str, SiteAssignment] = {}
        for key in self._store.keys(layout.assignments(self._site)):
            run, round_number = run_and_round(key)
            try:
                if self._store.age(layout.lease(run, round_number)) > LEASE_EXPIRES_SECONDS:
                    continue
                data = self._store.read(key)
            except NotFoundError:
                continue
            digest = bytes_digest(data)
            asked[digest] = self._asked.get(digest) or self._read_assignment(key, data, digest)
        self._asked = asked
        return asked

    def _read_assignment(self, key: str, data: bytes, digest: str) -> SiteAssignment:
        """Returns an assignment that was not seen before."""
        try:
            assignment = AssignmentRecord.from_bytes(data, key)
        except RecordError as error:
            return SiteAssignment(
                key, digest, None, f"its fedvsr {fedvsr.__version__} cannot read it: {error}; upgrade it"
            )
        problem = find_skew(assignment)
        seconds_left = assignment.deadline_seconds - self._store.age(key)
        entry = SiteAssignment(key, digest, assignment, problem, time.monotonic() + seconds_left)
        entry.told = self.find_answer(entry)
        entry.is_finished = entry.told is not None and entry.told.state.is_final
        return entry

    def find_answer(self, entry: SiteAssignment) -> AnswerRecord | None:
        """Returns the last answer to an assignment, by the worker or an earlier agent; None without one."""
        key = layout.answer(self._site, *run_and_round(entry.key))
        try:
            answer = read_record(self._store, key, AnswerRecord)
        except (NotFoundError, DataError):
            return None
        return answer if answer.assignment_digest == entry.digest else None


def run_and_round(key: str) -> tuple[str, int]:
    """Returns the run and round of ``sites/<site>/assignments/<run>/<r>.json``."""
    run, _, name = key.rpartition("/assignments/")[2].partition("/")
    number = name.removesuffix(".json")
    return run, int(number) if number.isdecimal() else 0
