"""Worker processes that do tasks side by side, as many as the memory allows."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedvsr.federation.run.worker_memory import MemoryLimit
from fedvsr.federation.run.worker_process import (
    StageAdvanced,
    StageBegan,
    StageEnded,
    Task,
    TaskDone,
    TaskMessage,
    TaskSettled,
    work,
)
from fedvsr.processes import describe_exit, end_workers, worker_context
from fedvsr.progress import Advance, Progress


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended.

    Attributes:
        task: The task.
        result: What it returned, if it ended without an error.
        error: The error that it raised; None if there was none.
        lost: Why there is neither a result nor an error: its worker died. Empty if it did not.
        is_late: Whether it was not begun, or ended by force, because of the deadline.
        was_begun: Whether a worker had begun it.
        seconds: How long it took.
    """

    task: Task
    result: Any = None
    error: Exception | None = None
    lost: str = ""
    is_late: bool = False
    was_begun: bool = True
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the task has returned a result."""
        return self.error is None and not self.lost and not self.is_late


OnEnd = Callable[[TaskEnd], None]


@dataclass
class _Worker:
    """A process, and the task that it has.

    Attributes:
        held: The bytes that it took after its last task.
    """

    process: BaseProcess
    connection: "Connection[Task, Any]"
    held: int = 0
    task: Task | None = None
    began: float = 0.0
    stages: ExitStack = field(default_factory=ExitStack)
    advances: list[Advance] = field(default_factory=list)


class WorkerPool:
    """Processes of this machine that do tasks. They are used again until the pool is closed.

    A process that dies, for example because memory ran out, loses only its task. Another one takes its place.

    Args:
        workers: How many tasks are done at once, at most.
        threads: The number of PyTorch's threads of a worker, for tasks that do not set it.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.size, self._threads = workers, threads
        self._workers: list[_Worker] = []
        self._limits: dict[str, MemoryLimit] = {}
        self._told: set[str] = set()
        self._context = worker_context(work.__module__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all processes, also those that have a task."""
        self._end(list(self._workers))

    def run(
        self,
        kind: str,
        tasks: Iterable[Task],
        progress: Progress,
        on_end: OnEnd,
        deadline: float | None = None,
    ) -> None:
        """Does tasks, in their order as far as workers are free.

        The first task of a kind shows how much memory such a task takes. Until then it has the machine for
        itself.

        Args:
            kind: The kind of the tasks, in one word: tasks of a kind take about the same memory.
            tasks: The tasks.
            progress: Shows what the workers do, and why there are fewer of them than asked for.
            on_end: Called with the end of each task, as soon as it has ended.
            deadline: The `time.monotonic` at which tasks that have not ended are given up; None for never.
        """
        waiting = deque(tasks)
        asked = min(self.size, len(waiting))
        limit = self._limits.setdefault(kind, MemoryLimit())
        limit.measure_free(sum(worker.held for worker in self._workers))
        try:
            while waiting or self._busy:
                if deadline is not None and time.monotonic() >= deadline:
                    self._give_up(waiting, on_end)
                    return
                self._hand_out(kind, asked, waiting, progress)
                self._listen(limit, progress, on_end, deadline)
        except BaseException:
            # What the workers do is not needed any more, and would be taken for results of the next run.
            self.close()
            raise

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task]

    def _hand_out(self, kind: str, asked: int, waiting: deque[Task], progress: Progress) -> None:
        """Gives tasks to free workers, and starts and ends workers as the memory allows."""
        limit = self._limits[kind]
        allowed = min(asked, limit.workers)
        if limit.peak and allowed < asked and kind not in self._told:
            self._told.add(kind)
            progress.message(
                f"{kind}: {allowed} of {asked} workers, because one takes up to {limit.peak / 1e9:.2g} GB "
                f"and {limit.budget / 1e9:.2g} GB of memory may be used"
            )
        idle = [worker for worker in self._workers if not worker.task]
        surplus = max(0, len(self._workers) - allowed)
        self._end(idle[:surplus])
        idle = idle[surplus:]
        while waiting and (idle or len(self._workers) < allowed):
            worker = idle.pop() if idle else self._start()
            worker.task, worker.began = waiting.popleft(), time.monotonic()
            try:
                worker.connection.send(worker.task)
            except OSError:
                # It died while it had no task. This loses nothing, so the task is tried again in another one.
                waiting.appendleft(worker.task)
                self._end([worker])

    def _start(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=work, args=(there, Path.cwd(), self._threads))
        process.start()
        # So that the end of the process, which has the other copy, ends the connection.
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker

    def _end(self, workers: list[_Worker]) -> None:
        end_workers(worker.process for worker in workers)
        for worker in workers:
            self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        worker.stages.close()
        worker.connection.close()
        self._workers.remove(worker)

    def _listen(self, limit: MemoryLimit, progress: Progress, on_end: OnEnd, deadline: float | None) -> None:
        """Waits until a worker says something or has died, or until the deadline."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        sources = [(worker, worker.connection, worker.process.sentinel) for worker in self._busy]
        ready = wait(
            [connection for _, connection, _ in sources] + [sentinel for _, _, sentinel in sources], timeout
        )
        for worker, connection, sentinel in sources:
            if connection in ready or sentinel in ready:
                self._read(worker, sentinel in ready, limit, progress, on_end)

    def _read(
        self, worker: _Worker, is_dead: bool, limit: MemoryLimit, progress: Progress, on_end: OnEnd
    ) -> None:
        """Reads all that a worker has said."""
        try:
            while worker.task and worker.connection.poll():
                self._hear(worker, worker.connection.recv(), limit, progress, on_end)
        except (EOFError, OSError):
            is_dead = True
        if is_dead and worker.task:
            self._bury(worker, on_end)

    def _hear(
        self, worker: _Worker, said: object, limit: MemoryLimit, progress: Progress, on_end: OnEnd
    ) -> None:
        assert worker.task is not None
        match said:
            case StageBegan(label, total):
                stage = progress.stage_beside(f"{worker.task.name} › {label}", total)
                worker.advances.append(worker.stages.enter_context(stage))
            case StageAdvanced(done, text):
                worker.advances[-1](done, text)
            case StageEnded():
                worker.advances.pop()
                if not worker.advances:
                    worker.stages.close()
            case TaskMessage(text):
                progress.message(text)
            case TaskSettled(memory):
                limit.learn(memory)
            case TaskDone(result, error, seconds, memory):
                limit.learn(memory)
                worker.held = memory.held
                task, worker.task = worker.task, None
                on_end(TaskEnd(task, result, error, seconds=seconds))

    def _bury(self, worker: _Worker, on_end: OnEnd) -> None:
        """Reports the task of a worker that has died."""
        worker.process.join()
        task, seconds = worker.task, time.monotonic() - worker.began
        assert task is not None
        self._forget(worker)
        on_end(TaskEnd(task, lost=describe_exit(worker.process.exitcode or 0), seconds=seconds))

    def _give_up(self, waiting: Iterable[Task], on_end: OnEnd) -> None:
        """Ends the workers that have a task, and reports all tasks that have not ended as late."""
        busy, now = self._busy, time.monotonic()
        self._end(busy)
        for worker in busy:
            assert worker.task is not None
            on_end(TaskEnd(worker.task, is_late=True, seconds=now - worker.began))
        for task in waiting:
            on_end(TaskEnd(task, is_late=True, was_begun=False))
