"""The step that evaluates a round's weights on the held-out clips."""

from pathlib import Path

from fedvsr.federation import layout
from fedvsr.federation.evaluations import is_evaluated
from fedvsr.federation.privacy_budget import planned_rounds
from fedvsr.federation.records import EvaluationRecord
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import LogProgress
from fedvsr.report.page import render_page
from fedvsr.report.summary import summarise_run
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import connect_from_environment
from fedvsr.tracking.runs import RunTracker


def evaluate(run: str, round_number: int, page: Path) -> dict[str, float]:
    """Evaluates a round's weights if the configuration asks for it, and sends the scores to MLflow.

    Args:
        run: The run's name.
        round_number: The round; 0 has no evaluation.
        page: The HTML file to write: a report of the run so far.

    Returns:
        The scores, by the names that the pipeline shows; empty if the round is not evaluated.
    """
    store = Workspace.from_environment().federation()
    record = load_run(store, run)
    # The pipeline asks for the configured last round; a budget of ε may have ended the run before.
    round_number = min(round_number, planned_rounds(record.config))
    tracker = RunTracker(connect_from_environment(), record)
    numbers: dict[str, float] = {}
    if round_number != layout.INITIAL_ROUND and is_evaluated(record.config, round_number):
        evaluation = evaluate_round(store, record, round_number, LogProgress())
        tracker.log_evaluation(evaluation)
        numbers = evaluation_numbers(evaluation)
    page.write_text(render_page(summarise_run(store, record), tracker.url))
    return numbers


def evaluation_numbers(evaluation: EvaluationRecord) -> dict[str, float]:
    """Returns the scores of an evaluation that the pipeline shows, by their names in MLflow."""
    return {"round": float(evaluation.round), **evaluation.means(["psnr_y", "ssim_y"])}
