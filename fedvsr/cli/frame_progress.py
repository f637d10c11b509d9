"""The progress of a video: a bar on a terminal, and lines in a log or a pipe."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedvsr.cli.progress import print_line

_LINES = 10
"""Number of lines in a log, if the number of frames is known."""

_MAX_SILENCE = 60.0
"""A log gets a line after this many seconds at the latest, unless no frame was finished."""

ShowFrames = Callable[[int], None]
"""Takes the number of frames that are finished."""


@contextmanager
def show_frames(
    console: Console,
    label: str,
    total: int | None,
    first: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[ShowFrames]:
    """Yields a function that shows how many frames are finished, the speed and the remaining time.

    Args:
        console: Where to show it.
        label: What is made of the frames.
        total: The number of frames, or an estimate; None if it is unknown.
        first: Number of frames that were finished before.
        clock: Returns seconds.
    """
    start = clock()
    if not console.is_terminal:
        yield _log(console, label, total, first, clock)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(label, total=total, completed=first, rate="")
        yield lambda done: bars.update(
            task, completed=done, rate=describe_rate(done - first, _remaining(total, done), clock() - start)
        )


def describe_rate(done: int, remaining: int | None, seconds: float) -> str:
    """Returns the mean frames per second since the start, and the remaining time.

    The frames of a window arrive all at once, so the time between two frames has no meaning.
    """
    text = f"{done / max(seconds, 1e-9):.1f} fps"
    if remaining is not None:
        text += f"  {timedelta(seconds=round(seconds / max(done, 1) * remaining))} left"
    return text


def _remaining(total: int | None, done: int) -> int | None:
    return None if total is None else max(0, total - done)


def _log(
    console: Console, label: str, total: int | None, first: int, clock: Callable[[], float]
) -> ShowFrames:
    start = last = clock()
    step = max(1, (total or 0) // _LINES)

    def show(done: int) -> None:
        nonlocal last
        now = clock()
        is_step = total is not None and done % step == 0
        if is_step or now - last >= _MAX_SILENCE:
            last = now
            of_total = "" if total is None else f"/{total}"
            rate = describe_rate(done - first, _remaining(total, done), now - start)
            print_line(console, f"{label}: {done}{of_total} frames  {rate}")

    return show
