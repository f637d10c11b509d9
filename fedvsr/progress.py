"""How long work tells where it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]
"""Says how far a stage is: steps done so far, and a few words about the last one."""


class Progress:
    """Progress that nobody looks at; a subclass shows it."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """Opens a stage of ``total`` steps inside the one that is open; yields how to advance it."""
        yield lambda done, text: None

    def message(self, text: str) -> None:
        """Says a line that stays."""


class LogProgress(Progress):
    """Progress as lines, for a log: ten or so from the outer stages, the last from those inside.

    Args:
        write: Takes one line.
        depth: How many stages inside each other are told of step by step; one more tells its end.
    """

    def __init__(self, write: Callable[[str], None] = print, depth: int = 2) -> None:
        self._write = write
        self._depth = depth
        self._labels: list[str] = []

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        self._labels.append(label)
        prefix = " › ".join(self._labels)
        level = len(self._labels)
        every = max(1, (total or 0) // 10)

        def advance(done: int, text: str) -> None:
            steps = level <= self._depth and done % every == 0
            if steps or (level <= self._depth + 1 and done == total):
                self._write(f"{prefix}: {done}{f'/{total}' if total else ''} {text}".rstrip())

        try:
            yield advance
        finally:
            self._labels.pop()

    def message(self, text: str) -> None:
        self._write(text)
