"""Sends a study's results to MLflow."""

from collections.abc import Mapping

from fedvsr.study.results import CellResult, Status
from fedvsr.study.runner import StudyRun
from fedvsr.tracking.connection import connect
from fedvsr.tracking.studies import TrackedCell, log_study

_FILES = ("page.html", "cells.csv", "summary.csv", "summary.md")


def track_study(run: StudyRun, results: Mapping[str, CellResult], store: str) -> None:
    """Sends the cells that have ended or failed, and the study's files.

    Args:
        run: The study.
        results: Its results.
        store: The root of the stores; without an address of MLflow, its database is there.

    Raises:
        fedvsr.errors.TrackingError: MLflow failed.
    """
    tracking = run.matrix.cells[0].experiment.tracking
    cells = [_cell(result) for result in results.values() if result.status is not Status.NOT_ENDED]
    log_study(connect(tracking, store), run.study.name, cells, [run.folder / name for name in _FILES])


def _cell(result: CellResult) -> TrackedCell:
    cell = result.cell
    metrics = {
        point.round: {
            "psnr_y": point.scores["psnr_y"],
            "ssim_y": point.scores["ssim_y"],
            "psnr_y_over_bicubic": point.gain,
            "client_loss_mean": point.loss,
            "samples": float(point.samples),
            "bytes_up": float(point.bytes_up),
            "bytes_down": float(point.bytes_down),
        }
        for point in result.points
    }
    if result.other_gain is not None and result.points:
        metrics[result.points[-1].round]["other_domain_psnr_y_over_bicubic"] = result.other_gain
    params = {"strategy": cell.strategy, **dict(cell.levels), "seed": str(cell.seed)}
    return TrackedCell(cell.id, params, metrics, failed=result.status is Status.FAILED)
