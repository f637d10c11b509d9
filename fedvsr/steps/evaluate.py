"""The step that judges a round's weights."""

from pathlib import Path

from fedvsr.federation import layout
from fedvsr.federation.evaluations import is_evaluated
from fedvsr.federation.records import EvaluationRecord
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import LogProgress
from fedvsr.report.page import render_page
from fedvsr.report.summary import summarise_run
from fedvsr.steps.evaluation_numbers import evaluation_numbers
from fedvsr.steps.mlflow_connection import environment_connection
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.links import run_link
from fedvsr.tracking.runs import RunTracker


def evaluate(run: str, round_number: int, page: Path) -> dict[str, float]:
    """Judges a round's weights, where that is due, and sends the numbers to MLflow; returns them."""
    store = Workspace.from_environment().federation()
    record = load_run(store, run)
    connection = environment_connection()
    tracker = RunTracker(connection, record)
    found: EvaluationRecord | None = None
    if round_number != layout.INITIAL_ROUND and is_evaluated(record.config, round_number):
        found = evaluate_round(store, run, round_number, LogProgress())
        tracker.log_evaluation(found)
    page.write_text(render_page(summarise_run(store, run), run_link(connection, tracker)))
    return evaluation_numbers(found) if found else {}
