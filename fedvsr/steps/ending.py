"""How a step of the pipeline ends if it fails or is told to end."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from fedvsr.errors import FedVSRError


@contextmanager
def sentence_on_error() -> Iterator[None]:
    """Context manager that ends the process with one sentence on standard error and the error's exit code.

    KFP's executor prints a traceback above the message of an exception, but not of SystemExit. An exception
    that is not a `fedvsr.errors.FedVSRError` is a defect, and keeps its traceback.
    """
    try:
        yield
    except FedVSRError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Context manager that raises SystemExit in the block on SIGTERM, so that the block can clean up.

    KFP sends it if the run is terminated. Does nothing outside the main thread, where Python handles no
    signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        # A second signal must not disturb the cleaning up.
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
