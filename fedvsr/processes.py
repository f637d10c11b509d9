"""Processes that work beside this one: how they start, how they end, and what their end says."""

import os
import signal
import threading
from collections.abc import Iterable
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import NoReturn

# Importing it takes seconds of CPU time and 90 MB. PyTorch does so at an optimiser's first step, in every
# process anew.
_IMPORTED_BY_OPTIMISERS = "torch._dynamo"


def worker_context(module: str) -> ForkServerContext:
    """Returns a context whose processes start with a module imported.

    They are forks of a server. A fork of a process that has imported PyTorch starts in no time, shares the
    memory of the imports, and has no threads, because the server has not used PyTorch. The server starts at
    once, beside this process.

    Args:
        module: The full name of the module with the function that the processes run.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([module, _IMPORTED_BY_OPTIMISERS])
    forkserver.ensure_running()
    return context


def begin_worker() -> None:
    """Prepares a process for its work: it ends when its parent ends it or has ended, and not by Ctrl-C.

    Ctrl-C reaches all processes of a terminal. The parent ends this one when it has heard it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def end_workers(processes: Iterable[BaseProcess]) -> None:
    """Ends processes by SIGTERM, and waits for their end."""
    ending = list(processes)
    for process in ending:
        process.terminate()
    for process in ending:
        process.join()


def describe_exit(code: int) -> str:
    """Returns why a process ended without a result.

    Args:
        code: Its exit code as `multiprocessing` has it: a signal's number is negative.
    """
    if code == -signal.SIGKILL:
        return "the process was killed; perhaps memory ran out: fewer --workers need less"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with code {code}"


def _end_with_parent() -> NoReturn:
    """Ends this process when its parent has ended, even if that was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
