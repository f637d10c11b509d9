"""What a worker process does: one task after the other, and what it tells the process that started it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from fedvsr.errors import FedVSRError
from fedvsr.federation.run.worker_memory import MemoryUse, begin_measuring, memory_use
from fedvsr.inference.free_memory import give_back_memory
from fedvsr.processes import begin_worker
from fedvsr.progress import Advance, Progress

# Errors that end only the task, as they would end a client's Job on a cluster. PyTorch raises RuntimeError
# if memory runs out or an operator refuses its input.
TASK_FAILURES = (FedVSRError, OSError, RuntimeError, MemoryError)

# A small model takes hundreds of steps a second; nobody reads them faster than this.
_SECONDS_BETWEEN_STEPS = 0.1


@dataclass(frozen=True)
class Task:
    """Something to do in a worker process.

    Attributes:
        name: Its name, for messages: the client's.
        work: Does it. It, and what it returns, can be pickled.
        settled_step: The step after which the task takes no more memory than it has taken by then; None if
            only its end shows how much it takes.
    """

    name: str
    work: Callable[[Progress], Any]
    settled_step: int | None = None


@dataclass(frozen=True)
class StageBegan:
    """A stage of the task began; it is inside those that have not ended."""

    label: str
    total: int | None


@dataclass(frozen=True)
class StageAdvanced:
    """The innermost stage has advanced."""

    done: int
    text: str


@dataclass(frozen=True)
class StageEnded:
    """The innermost stage has ended."""


@dataclass(frozen=True)
class TaskMessage:
    """A permanent line."""

    text: str


@dataclass(frozen=True)
class TaskSettled:
    """The task takes no more memory than this."""

    memory: MemoryUse


@dataclass(frozen=True)
class TaskDone:
    """The task has ended.

    Attributes:
        result: What it returned.
        error: What it raised; None if it did not.
        seconds: How long it took.
        memory: What the worker took, and takes still.
    """

    result: Any
    error: Exception | None
    seconds: float
    memory: MemoryUse


def work(connection: "Connection[Any, Task]", folder: Path, threads: int) -> None:
    """Does tasks until the connection is closed.

    Args:
        connection: Tasks come from it, and what becomes of them goes to it.
        folder: The working folder. Paths may be relative to it.
        threads: The number of PyTorch's threads, if the run does not set it.
    """
    begin_worker()
    os.chdir(folder)
    torch.set_num_threads(threads)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(_do(task, connection))


def _do(task: Task, connection: "Connection[Any, Task]") -> TaskDone:
    begin_measuring()
    start = time.monotonic()
    result, error = None, None
    try:
        result = task.work(_SentProgress(connection, task.settled_step))
    except TASK_FAILURES as failure:
        error = _sendable(failure)
    seconds = time.monotonic() - start
    peak = memory_use().peak
    give_back_memory()
    after = memory_use()
    return TaskDone(result, error, seconds, MemoryUse(peak, after.held, after.on_gpu))


def _sendable(error: Exception) -> Exception:
    """Returns an error that can be pickled; others' subclasses of RuntimeError may not."""
    if isinstance(error, FedVSRError | OSError):
        return error
    return RuntimeError(str(error) or type(error).__name__)


class _SentProgress(Progress):
    """Sends a task's progress to the process that started the worker."""

    def __init__(self, connection: "Connection[Any, Task]", settled_step: int | None) -> None:
        self._connection, self._settled_step = connection, settled_step
        self._sent = 0.0

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        self._connection.send(StageBegan(label, total))

        def advance(done: int, text: str) -> None:
            if done == self._settled_step:
                self._connection.send(TaskSettled(memory_use()))
            now = time.monotonic()
            if done == total or now - self._sent > _SECONDS_BETWEEN_STEPS:
                self._sent = now
                self._connection.send(StageAdvanced(done, text))

        try:
            yield advance
        finally:
            self._connection.send(StageEnded())

    def message(self, text: str) -> None:
        self._connection.send(TaskMessage(text))
