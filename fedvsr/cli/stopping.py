"""What stops a command from outside: Ctrl-C and SIGTERM, and what the user is told then."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = 128
"""A process that is ended by a signal exits with this plus the signal's number."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which `kill`, `timeout`, systemd and Kubernetes send; everything cleans up as after Ctrl-C."""


@contextmanager
def terminate_on_sigterm() -> Iterator[None]:
    """Raises `Terminated` in the block on SIGTERM. A second SIGTERM does not disturb the cleaning up.

    Without it, Python ends at once and leaves temporary files, and the first process of a container ignores
    the signal. Does nothing outside the main thread, where Python handles no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def when_stopped(describe: Callable[[], str]) -> Iterator[None]:
    """Adds to a stop in the block what became of the work. `fedvsr.cli.main` prints it.

    Args:
        describe: Returns the text after "stopped; ". It is called after everything in the block has cleaned
            up.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(describe())
        raise


def stop_message(stop: BaseException | None) -> str:
    """Returns what to print after a stop: the first description, which is the innermost."""
    notes = getattr(stop, "__notes__", [])
    return f"stopped; {notes[0]}" if notes else "stopped"


def stop_code(stop: BaseException | None) -> int:
    """Returns the exit code after a stop."""
    return _SIGNALS + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
