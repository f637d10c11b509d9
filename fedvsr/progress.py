"""Progress reporting."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Advance = Callable[[int, str], None]
"""Reports the progress of a stage. Takes the number of completed steps and a short text."""


class Progress:
    """Progress that is not shown. A subclass shows it."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """Opens a stage of ``total`` steps inside the current stage. Yields the function that advances it."""
        yield lambda done, text: None

    @contextmanager
    def stage_beside(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """Opens a stage inside the current stage, beside others that are open at the same time.

        Such stages may end in any order, and no stage is inside one of them. The arguments are those of
        `stage`.
        """
        yield lambda done, text: None

    def message(self, text: str) -> None:
        """Shows a permanent line."""


class MessagesOnly(Progress):
    """Passes on messages only, for a thread beside the one that shows stages.

    Args:
        progress: Receives the messages.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def message(self, text: str) -> None:
        self._progress.message(text)


class LogProgress(Progress):
    """Writes progress as lines of a log: about ten lines per outer stage, one at the end of an inner stage.

    Args:
        write: Writes one line.
        depth: Number of nested stages that show their steps. A stage one level deeper shows only its end, and
            all deeper stages show nothing.
    """

    def __init__(self, write: Callable[[str], None] = print, depth: int = 2) -> None:
        self._write = write
        self._depth = depth
        self._labels: list[str] = []

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        self._labels.append(label)
        try:
            yield self._advance(self._labels, total)
        finally:
            self._labels.pop()

    @contextmanager
    def stage_beside(self, label: str, total: int | None = None) -> Iterator[Advance]:
        yield self._advance([*self._labels, label], total)

    def _advance(self, labels: Sequence[str], total: int | None) -> Advance:
        prefix = " › ".join(labels)
        level = len(labels)
        every = max(1, (total or 0) // 10)

        def advance(done: int, text: str) -> None:
            steps = level <= self._depth and done % every == 0
            if steps or (level <= self._depth + 1 and done == total):
                self._write(f"{prefix}: {done}{f'/{total}' if total else ''} {text}".rstrip())

        return advance

    def message(self, text: str) -> None:
        self._write(text)
