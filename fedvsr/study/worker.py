"""One cell of a study in a process of its own."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fedvsr.config.run import RunConfig
from fedvsr.errors import FedVSRError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import LocalVideo
from fedvsr.federation.records import write_record
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds
from fedvsr.federation.server.evaluate import evaluate_on_other_clips
from fedvsr.processes import begin_worker
from fedvsr.store.workspace import Workspace

OTHER_DOMAIN = "other-domain.json"
"""The record of the scores on the other domain, in the federation's store of a cell."""

_OTHER_DATASET = "other-domain"
_FAILURE = "failure.txt"


@dataclass(frozen=True)
class CellTask:
    """What a process needs to train a cell.

    Attributes:
        folder: The cell's folder.
        workspace: Its federation's store, and the clients' stores of the study.
        config: The run.
        held_out: The held-out videos.
        other_domain: The other held-out videos.
    """

    folder: Path
    workspace: Workspace
    config: RunConfig
    held_out: tuple[LocalVideo, ...]
    other_domain: tuple[LocalVideo, ...]

    @property
    def failure(self) -> str | None:
        """Why the cell failed the last time; None if it did not."""
        try:
            return (self.folder / _FAILURE).read_text("utf-8")
        except FileNotFoundError:
            return None

    def record_failure(self, reason: str) -> None:
        """Records why the cell failed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _FAILURE).write_text(reason, "utf-8")

    def forget_failure(self) -> None:
        """Removes the reason of an earlier failure."""
        (self.folder / _FAILURE).unlink(missing_ok=True)

    @property
    def has_ended(self) -> bool:
        """Whether the run and its evaluations are complete."""
        store = self.workspace.federation()
        if self.other_domain and not store.exists(OTHER_DOMAIN):
            return False
        return find_evaluation(store, self.config.name, self.config.federation.rounds) is not None


def work(task: CellTask) -> NoReturn:
    """Trains and evaluates a cell, and ends the process: with 0, or with 1 after a failure.

    The failure's reason is in the cell's folder then. A cell that was stopped goes on where it was.
    """
    begin_worker()
    try:
        run_cell(task)
    except (FedVSRError, OSError, RuntimeError, MemoryError) as error:
        task.record_failure(str(error) or type(error).__name__)
        sys.exit(1)
    sys.exit(0)


def run_cell(task: CellTask) -> None:
    """Runs the rounds of a cell that have not ended, and scores the last one on the other domain.

    Raises:
        fedvsr.errors.FedVSRError: The run cannot continue.
    """
    store, config = task.workspace.federation(), task.config
    held_out = layout.held_out_clips(config.data.dataset)
    shard_videos(store, held_out, list(task.held_out), config.data, layout.HELD_OUT)
    record = prepare_run(store, config)
    run_rounds(task.workspace, record)
    if task.other_domain and not store.exists(OTHER_DOMAIN):
        data = config.data.model_copy(update={"dataset": _OTHER_DATASET})
        shard_videos(
            store, layout.held_out_clips(_OTHER_DATASET), list(task.other_domain), data, "other domain"
        )
        scores = evaluate_on_other_clips(store, record, config.federation.rounds, _OTHER_DATASET)
        write_record(store, OTHER_DOMAIN, scores)
