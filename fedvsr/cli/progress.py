"""Progress as nested bars on a terminal, and as lines in a file or pipe."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from fedvsr.progress import Advance, LogProgress, Progress

# Reports rounds, and when all clients of a round have ended; every local step would give hundreds of lines.
_LOGGED_STAGES = 1


@contextmanager
def show_progress(console: Console) -> Iterator[Progress]:
    """Yields a `Progress` that is shown on a console."""
    if not console.is_terminal:
        yield LogProgress(lambda text: print_line(console, text), _LOGGED_STAGES)
        return
    with Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
        console=console,
        transient=True,
    ) as bars:
        yield _BarProgress(bars)


class _BarProgress(Progress):
    """Shows one bar for each stage; an inner stage is below its outer stage."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._depth = 0

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        with self.stage_beside(label, total) as advance:
            self._depth += 1
            try:
                yield advance
            finally:
                self._depth -= 1

    @contextmanager
    def stage_beside(self, label: str, total: int | None = None) -> Iterator[Advance]:
        task = self._bars.add_task("  " * self._depth + label, total=total, text="")

        def advance(done: int, text: str) -> None:
            self._bars.update(task, completed=done, text=text)

        try:
            yield advance
        finally:
            self._bars.remove_task(task)

    def message(self, text: str) -> None:
        print_line(self._bars.console, text)


def print_line(console: Console, text: str) -> None:
    """Prints a line as it is. Markup is not interpreted, since a path or a reason may contain brackets."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
