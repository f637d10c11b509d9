"""Tells the federation how far the work is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fedvsr.errors import StoreError
from fedvsr.federation import layout
from fedvsr.federation.records import write_record
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.federation.site_records import AnswerRecord, AssignmentRecord, SiteState
from fedvsr.progress import Advance, Progress
from fedvsr.store.base import Store, bytes_digest

# Between two answers in one state.
_SECONDS = 5.0


def write_answer(store: Store, answer: AnswerRecord) -> None:
    """Writes an answer to the federation's store."""
    write_record(store, layout.answer(answer.site, answer.run, answer.round), answer)


class Answers:
    """Writes the worker's answers from its own thread, so that a slow network does not slow the training.

    Only the newest answer counts: one that could not be written is replaced by the next.

    Args:
        store: The federation's store.
        assignment: What is answered.
    """

    def __init__(self, store: Store, assignment: AssignmentRecord) -> None:
        self._store, self._assignment = store, assignment
        self._digest = bytes_digest(assignment.to_bytes())
        self._began = time.monotonic()
        self._changed = threading.Condition()
        self._next: AnswerRecord | None = None
        self._is_urgent = self._is_closed = False
        self._state: SiteState | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._began

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Sends answers while the block runs. The last one is not waited for: see `finish`."""
        thread = threading.Thread(target=self._send_all, name="answers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = True
                self._changed.notify()
            thread.join()

    def tell(self, state: SiteState, done: int = 0, total: int = 0, text: str = "") -> None:
        """Tells how far the work is. Returns at once."""
        answer = self._answer(state, done=done, total=total, text=text)
        with self._changed:
            self._is_urgent = self._is_urgent or state is not self._state
            self._state, self._next = state, answer
            self._changed.notify()

    def finish(self, shards: ShardSummary | None = None) -> None:
        """Writes that the work is done, after `sending`.

        Raises:
            fedvsr.errors.StoreError: It could not be written; do the work again, which is quick.
        """
        write_answer(self._store, self._answer(SiteState.DONE, shards=shards))

    def _answer(self, state: SiteState, **details: Any) -> AnswerRecord:
        return AnswerRecord(
            run=self._assignment.run,
            round=self._assignment.round,
            site=self._assignment.site,
            assignment_digest=self._digest,
            state=state,
            seconds=self.seconds,
            **details,
        )

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or self._is_closed)
                if self._is_closed or self._next is None:
                    return
                answer, self._next, self._is_urgent = self._next, None, False
            # The agent tells of a federation that cannot be reached. The work goes on.
            with suppress(StoreError):
                write_answer(self._store, answer)
            with self._changed:
                self._changed.wait_for(lambda: self._is_urgent or self._is_closed, timeout=_SECONDS)


class AnsweringProgress(Progress):
    """Progress of a stage of the work, told to the federation and to the site's own log.

    Args:
        answers: Tells the federation.
        state: The state to tell.
        label: The label of the stage whose steps are counted.
        log: The site's own log.
    """

    def __init__(self, answers: Answers, state: SiteState, label: str, log: Progress) -> None:
        self._answers, self._state, self._label, self._log = answers, state, label, log

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        with self._log.stage(label, total) as advance_log:
            yield self._answering(advance_log, total or 0) if label == self._label else advance_log

    def message(self, text: str) -> None:
        self._log.message(text)

    def _answering(self, advance_log: Advance, total: int) -> Advance:
        # The text of a video's step has its name, which must not leave the site.
        tells_text = self._state is SiteState.TRAINING
        self._answers.tell(self._state, 0, total)

        def advance(done: int, text: str) -> None:
            advance_log(done, text)
            self._answers.tell(self._state, done, total, text if tells_text else "")

        return advance
