"""The step that makes new global weights of a round's updates."""

from pathlib import Path

from fedvsr.federation.records import RoundRecord
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.report.markdown import round_markdown
from fedvsr.steps.mlflow_connection import environment_connection
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.links import run_link
from fedvsr.tracking.runs import RunTracker


def aggregate(run: str, round_number: int, summary: Path) -> dict[str, float]:
    """Aggregates a round and sends it to MLflow; returns the numbers to show."""
    store = Workspace.from_environment().federation()
    run_record = load_run(store, run)
    record = aggregate_round(store, run_record, round_number)
    connection = environment_connection()
    tracker = RunTracker(connection, run_record)
    tracker.log_round(record)
    summary.write_text(round_markdown(record, run_link(connection, tracker)))
    return _round_numbers(record)


def _round_numbers(record: RoundRecord) -> dict[str, float]:
    losses = record.losses
    return {
        "round": float(record.round),
        "participants": float(len(losses)),
        "client_loss_mean": sum(losses) / len(losses),
        **record.diagnostics,
    }
