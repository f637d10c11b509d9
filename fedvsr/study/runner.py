"""Runs the cells of a study, several at once."""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fedvsr.config.experiment import Experiment
from fedvsr.config.study import StudyConfig
from fedvsr.errors import InputError
from fedvsr.experiment.videos import collect_videos
from fedvsr.federation.evaluations import find_evaluation
from fedvsr.federation.owner.videos import FederationVideos, LocalVideo, local_videos
from fedvsr.federation.run.rounds import shard_clients
from fedvsr.processes import describe_exit, end_workers, worker_context
from fedvsr.progress import Progress
from fedvsr.store.base import bytes_digest
from fedvsr.store.workspace import Workspace
from fedvsr.study.cells import Cell, Matrix
from fedvsr.study.worker import CellTask, work


@dataclass(frozen=True)
class StudyRun:
    """A study's cells, and where their runs are.

    Attributes:
        study: The study.
        matrix: Its cells.
        folder: The folder of the study.
        tasks: The task of each cell, by the cell's id.
        videos: The divided videos, by the name of their shards.
    """

    study: StudyConfig
    matrix: Matrix
    folder: Path
    tasks: dict[str, CellTask]
    videos: dict[str, FederationVideos]


def study_folder(study: StudyConfig, store: str) -> Path:
    """Returns the folder of a study's runs and results."""
    return Path(store) / "studies" / study.name


def plan_study(study: StudyConfig, matrix: Matrix, store: str) -> StudyRun:
    """Finds the videos of all cells. Writes nothing.

    Raises:
        fedvsr.errors.FedVSRError: Videos are missing, or cannot be divided.
    """
    folder = study_folder(study, store)
    other = study.other_domain
    other_domain = tuple(local_videos(Path(other.path), other.pattern)) if other else ()
    videos: dict[str, FederationVideos] = {}
    tasks = {}
    for cell in matrix.cells:
        dataset = _dataset(cell.experiment)
        # A division may count the frames of all videos, so it is made once.
        if dataset not in videos:
            videos[dataset] = collect_videos(cell.experiment)
        tasks[cell.id] = _task(folder, cell, dataset, videos[dataset], other_domain)
    return StudyRun(study, matrix, folder, tasks, videos)


def _dataset(experiment: Experiment) -> str:
    """Returns a name for an experiment's shards: cells that divide the videos in the same way share them."""
    fields: dict[str, Any] = {
        "clients": True,
        "data": True,
        "evaluation_videos": True,
        "federation": {"clients"},
    }
    if experiment.clients.split and experiment.clients.split.scheme == "dirichlet":
        fields["seed"] = True
    return f"study-{bytes_digest(experiment.model_dump_json(include=fields).encode())[:12]}"


def _task(
    folder: Path,
    cell: Cell,
    dataset: str,
    videos: FederationVideos,
    other_domain: tuple[LocalVideo, ...],
) -> CellTask:
    config = cell.experiment.run_config(tuple(videos.clients))
    training = config.training.model_copy(update={"threads": config.training.threads or 1})
    data = config.data.model_copy(update={"dataset": dataset})
    cell_folder = folder / "cells" / cell.id
    workspace = Workspace(str(cell_folder / "federation"), str(folder / "clients" / "{client}"))
    return CellTask(
        cell_folder,
        workspace,
        config.model_copy(update={"data": data, "training": training}),
        tuple(videos.held_out),
        other_domain,
    )


def run_study(run: StudyRun, workers: int, progress: Progress) -> None:
    """Runs the cells that have not ended, and records why cells failed.

    It may be stopped at any moment and called again.

    Args:
        run: The study.
        workers: How many cells run at once.
        progress: Reports progress per cell.

    Raises:
        fedvsr.errors.InputError: Another process runs the study.
        fedvsr.errors.FedVSRError: The videos cannot be used.
    """
    with _locked(run.folder):
        waiting = [cell for cell in run.matrix.cells if not run.tasks[cell.id].has_ended]
        _shard(run, waiting, progress)
        for cell in waiting:
            run.tasks[cell.id].forget_failure()
        _Workers(run, workers, progress).run(waiting)


def _shard(run: StudyRun, cells: Sequence[Cell], progress: Progress) -> None:
    """Makes the clients' shards, once for all cells that divide the videos in the same way."""
    done: set[str] = set()
    for cell in cells:
        task = run.tasks[cell.id]
        dataset = task.config.data.dataset
        if dataset not in done:
            done.add(dataset)
            shard_clients(task.workspace, run.videos[dataset], task.config.data, progress)


@dataclass
class _Running:
    cell: Cell
    process: BaseProcess
    started: float = field(default_factory=time.monotonic)


class _Workers:
    """The processes of a study: one for each cell that runs."""

    def __init__(self, run: StudyRun, workers: int, progress: Progress) -> None:
        self._run, self._workers, self._progress = run, workers, progress
        self._context = worker_context(work.__module__)
        self._running: list[_Running] = []
        self._durations: list[float] = []

    def run(self, cells: Sequence[Cell]) -> None:
        """Runs the cells in order. If it is stopped, it ends all processes."""
        total = len(self._run.matrix.cells)
        waiting = list(cells)
        with self._progress.stage("cells", total) as advance:
            try:
                while waiting or self._running:
                    while waiting and len(self._running) < self._workers:
                        self._start(waiting.pop(0))
                    wait([running.process.sentinel for running in self._running])
                    self._conclude()
                    left = len(waiting) + len(self._running)
                    advance(total - left, self._describe(left))
            finally:
                end_workers(running.process for running in self._running)

    def _start(self, cell: Cell) -> None:
        process = self._context.Process(target=work, args=(self._run.tasks[cell.id],))
        process.start()
        self._running.append(_Running(cell, process))

    def _conclude(self) -> None:
        for running in [running for running in self._running if not running.process.is_alive()]:
            self._running.remove(running)
            self._durations.append(time.monotonic() - running.started)
            task = self._run.tasks[running.cell.id]
            code = running.process.exitcode or 0
            if code and task.failure is None:
                task.record_failure(describe_exit(code))
            self._progress.message(f"{running.cell.label}: {_outcome(task)}")

    def _describe(self, left: int) -> str:
        names = ", ".join(running.cell.label for running in self._running)
        if not self._durations:
            return names
        seconds = sum(self._durations) / len(self._durations) * left / self._workers
        end = datetime.now().astimezone() + timedelta(seconds=seconds)
        return f"ends about {end:%H:%M} · {names}"


def _outcome(task: CellTask) -> str:
    if task.failure is not None:
        return f"failed: {task.failure}"
    evaluation = find_evaluation(task.workspace.federation(), task.config.name, task.config.federation.rounds)
    assert evaluation is not None
    return f"{evaluation.mean('psnr_y'):.2f} dB ({evaluation.gain:+.2f} over bicubic)"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps a second process from running the same study."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process runs the study in {folder}; wait for it or stop it") from None
        yield
