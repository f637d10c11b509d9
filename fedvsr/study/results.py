"""What the cells of a study have shown so far, read from their stores."""

from dataclasses import dataclass
from enum import StrEnum

from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import list_evaluations
from fedvsr.federation.records import EvaluationRecord, RoundRecord, read_record
from fedvsr.study.cells import Cell
from fedvsr.study.runner import StudyRun
from fedvsr.study.worker import OTHER_DOMAIN, CellTask


class Status(StrEnum):
    """How far a cell is."""

    ENDED = "ended"
    FAILED = "failed"
    NOT_ENDED = "not ended"


@dataclass(frozen=True)
class Point:
    """An evaluated round of a cell.

    Attributes:
        round: The round.
        scores: Means over the held-out frames: psnr_y, psnr_rgb, ssim_y, ssim_rgb, and gain, the PSNR (Y) in
            dB over bicubic interpolation.
        samples: Number of patches that all clients have trained on so far.
        bytes_up: What clients have sent so far.
        bytes_down: What clients have got so far.
        loss: Mean of the clients' losses in the round.
    """

    round: int
    scores: dict[str, float]
    samples: int
    bytes_up: int
    bytes_down: int
    loss: float

    @property
    def gain(self) -> float:
        return self.scores["gain"]


@dataclass(frozen=True)
class CellResult:
    """The results of a cell.

    Attributes:
        cell: The cell.
        status: How far it is.
        reason: Why it failed; empty if it did not.
        points: Its evaluated rounds, in order.
        other_gain: PSNR (Y) in dB over bicubic interpolation on the other domain; None if not scored.
    """

    cell: Cell
    status: Status
    reason: str
    points: tuple[Point, ...]
    other_gain: float | None

    @property
    def last(self) -> Point | None:
        """The last round of a cell that has ended."""
        return self.points[-1] if self.status is Status.ENDED else None


def read_results(run: StudyRun) -> dict[str, CellResult]:
    """Returns the results of all cells, also of those that failed or have not ended, by the cell's id."""
    return {cell.id: _read(cell, run.tasks[cell.id]) for cell in run.matrix.cells}


def _read(cell: Cell, task: CellTask) -> CellResult:
    reason = task.failure
    unfinished = Status.NOT_ENDED if reason is None else Status.FAILED
    status = Status.ENDED if task.has_ended else unfinished
    other = None
    store = task.workspace.federation()
    if store.exists(OTHER_DOMAIN):
        other = read_record(store, OTHER_DOMAIN, EvaluationRecord).gain
    return CellResult(cell, status, reason or "", tuple(_points(task)), other)


def _points(task: CellTask) -> list[Point]:
    store, name = task.workspace.federation(), task.config.name
    evaluations = {record.round: record for record in list_evaluations(store, task.config)}
    points: list[Point] = []
    samples = up = down = 0
    for round_number in range(1, task.config.federation.rounds + 1):
        try:
            record = read_record(store, layout.round_record(name, round_number), RoundRecord)
        except NotFoundError:
            break
        samples += sum(participant.samples for participant in record.participants)
        up += record.bytes_up
        down += record.bytes_down
        evaluation = evaluations.get(round_number)
        if evaluation:
            scores = {name: evaluation.mean(name) for name in ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb")}
            scores["gain"] = evaluation.gain
            loss = sum(record.losses) / len(record.losses)
            points.append(Point(round_number, scores, samples, up, down, loss))
    return points
