"""Progress reporting."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]
"""Reports the progress of a stage: the number of completed steps, and a few words about the last one."""


class Progress:
    """Progress that is not shown. Subclasses show it."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """Opens a stage of ``total`` steps inside the current one. Yields the function that advances it."""
        yield lambda done, text: None

    def message(self, text: str) -> None:
        """Shows a line that stays."""


class LogProgress(Progress):
    """Progress as lines for a log: about ten lines for an outer stage, one at the end of an inner stage.

    Args:
        write: Writes one line.
        depth: How many nested stages show their steps. The next inner stage shows only its end, and deeper
            stages show nothing.
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
