"""Tasks side by side in worker processes: what becomes of each, and what is left of the processes."""

import multiprocessing
import os
import signal
import threading
import time
from functools import partial

import pytest

from fedvsr.errors import ConfigError
from fedvsr.federation.run import worker_memory
from fedvsr.federation.run.worker_memory import MemoryLimit, MemoryUse
from fedvsr.federation.run.worker_pool import WorkerPool
from fedvsr.federation.run.worker_process import Task
from fedvsr.progress import Progress

GIGABYTE = 10**9


def answer(value, progress):
    with progress.stage("count", 3) as advance:
        for number in range(1, 4):
            advance(number, f"number {number}")
    progress.message(f"{value} has counted")
    return value, os.getpid()


def refuse(progress):
    raise ConfigError("training.frames", 7, "it must be 8")


def die(number, progress):
    os.kill(os.getpid(), number)


def wait_forever(progress):
    threading.Event().wait()


class Seen(Progress):
    """Collects what is shown."""

    def __init__(self):
        self.lines, self.steps = [], []

    def stage_beside(self, label, total=None):
        from contextlib import contextmanager

        @contextmanager
        def stage():
            yield lambda done, text: self.steps.append((label, total, done, text))

        return stage()

    def message(self, text):
        self.lines.append(text)


@pytest.fixture
def pool():
    with WorkerPool(2, 1) as workers:
        yield workers


def run(pool, tasks, deadline=None, progress=None):
    ends = {}
    pool.run("test", tasks, progress or Seen(), lambda end: ends.update({end.task.name: end}), deadline)
    return ends


def test_results_and_progress_reach_the_parent(pool):
    progress = Seen()
    ends = run(pool, [Task(name, partial(answer, name)) for name in "abc"], progress=progress)
    assert {name: end.result[0] for name, end in ends.items()} == {"a": "a", "b": "b", "c": "c"}
    assert sorted(progress.lines) == ["a has counted", "b has counted", "c has counted"]
    assert ("b › count", 3, 3, "number 3") in progress.steps


def test_a_process_is_used_again(pool):
    first = run(pool, [Task("a", partial(answer, 1))])
    second = run(pool, [Task("b", partial(answer, 2))])
    assert first["a"].result[1] == second["b"].result[1] != os.getpid()


def test_an_error_comes_back_as_it_was_raised(pool):
    error = run(pool, [Task("a", refuse)])["a"].error
    assert isinstance(error, ConfigError)
    assert (error.field, error.value, error.allowed) == ("training.frames", 7, "it must be 8")
    assert str(error) == "training.frames: 7 is not allowed; it must be 8"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "the process was killed; perhaps memory ran out: fewer --workers need less"),
        (signal.SIGSEGV, "the process was ended by SIGSEGV"),
    ],
)
def test_a_process_that_dies_loses_one_task(pool, number, reason):
    tasks = [Task("a", partial(answer, 1)), Task("b", partial(die, number)), Task("c", partial(answer, 3))]
    ends = run(pool, tasks)
    assert ends["b"].lost == reason
    assert not ends["b"].is_complete
    assert (ends["a"].result[0], ends["c"].result[0]) == (1, 3)


def test_a_process_that_died_between_two_runs_loses_nothing(pool):
    run(pool, [Task("a", partial(answer, 1))])
    (process,) = multiprocessing.active_children()
    process.kill()
    process.join()
    assert run(pool, [Task("b", partial(answer, 2))])["b"].result[0] == 2


def test_the_deadline_ends_what_runs_and_begins_nothing_more():
    with WorkerPool(1, 1) as pool:
        run(pool, [Task("first", partial(answer, 1))])  # so that the process is there
        tasks = [Task("slow", wait_forever), Task("waiting", partial(answer, 2))]
        ends = run(pool, tasks, deadline=time.monotonic() + 0.2)
        assert [(end.is_late, end.was_begun) for end in ends.values()] == [(True, True), (True, False)]
        assert multiprocessing.active_children() == []
        assert run(pool, [Task("next", partial(answer, 3))])["next"].result[0] == 3


def test_a_stop_ends_all_processes(pool):
    class Stop(Progress):
        def message(self, text):
            raise KeyboardInterrupt

    run(pool, [Task("first", partial(answer, 1))])  # so that two may work at once
    with pytest.raises(KeyboardInterrupt):
        run(pool, [Task("slow", wait_forever), Task("a", partial(answer, 1))], progress=Stop())
    assert multiprocessing.active_children() == []


def test_memory_allows_fewer_workers_and_this_is_said_once(pool, monkeypatch):
    monkeypatch.setattr(worker_memory, "free_memory", lambda: 10**6)
    progress = Seen()
    for _ in range(2):
        ends = run(pool, [Task(name, partial(answer, name)) for name in "abcd"], progress=progress)
        assert len({end.result[1] for end in ends.values()}) == 1
    (line,) = [line for line in progress.lines if "counted" not in line]
    assert line.startswith("test: 1 of 2 workers, because one takes up to 0.")


class TestMemoryLimit:
    @pytest.fixture
    def limit(self, monkeypatch):
        monkeypatch.setattr(worker_memory, "free_memory", lambda: 10 * GIGABYTE)
        limit = MemoryLimit()
        limit.measure_free(0)
        return limit

    def test_one_until_it_is_known_what_a_task_takes(self, limit):
        assert limit.workers == 1

    def test_the_largest_task_counts(self, limit):
        for peak in (1, 2, 1):
            limit.learn(MemoryUse(peak * GIGABYTE, 0, None))
        assert limit.workers == 4  # of 8 of 10 gigabytes

    def test_what_waiting_workers_hold_can_be_used(self, limit):
        limit.learn(MemoryUse(2 * GIGABYTE, GIGABYTE, None))
        limit.measure_free(5 * GIGABYTE)
        assert limit.workers == 6

    def test_a_task_that_is_too_large_runs_alone(self, limit):
        limit.learn(MemoryUse(50 * GIGABYTE, 0, None))
        assert limit.workers == 1

    def test_the_gpus_room_is_that_beside_the_first_worker(self, limit):
        limit.learn(MemoryUse(GIGABYTE, 0, 3))
        limit.learn(MemoryUse(GIGABYTE, 0, 1))
        assert limit.workers == 3
