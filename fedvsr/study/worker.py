"""One cell of a study in a process of its own."""

import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.device import repeatable, select_device
from fedvsr.errors import FedVSRError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import LocalVideo
from fedvsr.federation.records import EvaluationRecord, RunRecord, write_record
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds
from fedvsr.federation.stored_weights import load_weights
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state
from fedvsr.scoring.clips import score_bicubic, score_model
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace

OTHER_DOMAIN = "other-domain.json"
"""The record of the scores on the other domain, in the federation's store of a cell."""

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
    # Ctrl-C reaches all processes of a terminal. The parent stops this one when it has heard it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
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
        write_record(store, OTHER_DOMAIN, _score_other_domain(store, record, task.other_domain))


def _score_other_domain(store: Store, record: RunRecord, videos: tuple[LocalVideo, ...]) -> EvaluationRecord:
    """Scores the last round on videos of another kind."""
    config = record.config
    last = find_evaluation(store, config.name, config.federation.rounds)
    assert last is not None
    data: DataConfig = config.data.model_copy(update={"dataset": "other-domain"})
    folder = layout.held_out_clips(data.dataset)
    shard_videos(store, folder, list(videos), data, "other domain")
    clips = open_clips(store, folder, data)
    device = select_device(config.training.device)
    with repeatable(config.seed, config.training.threads):
        model = build_model(config.model.name, config.data.scale, config.model.options)
        key = layout.averaged_weights if last.is_averaged else layout.global_weights
        weights = load_weights(store, key(config.name, last.round), last.model_digest)
        load_state(model, weights, f"weights of round {last.round}")
        scores, _ = score_model(model.to(device), clips, device, config.evaluation.crop_border)
        bicubic = score_bicubic(clips, config.evaluation.crop_border)
    return last.model_copy(
        update={
            "dataset_digest": dataset_digest(store, folder, data),
            "scores": scores,
            "bicubic": bicubic,
            "averaged": None,
        }
    )


def _end_with_parent() -> NoReturn:
    """Ends this process when its parent has ended, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
