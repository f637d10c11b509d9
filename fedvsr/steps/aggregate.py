"""The step that aggregates a round's updates into new global weights."""

from pathlib import Path

from fedvsr.federation.records import RoundRecord
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import round_markdown
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import connect_from_environment
from fedvsr.tracking.runs import RunTracker


def aggregate(run: str, round_number: int, summary: Path) -> dict[str, float]:
    """Aggregates a round and sends its metrics to MLflow.

    Args:
        run: The run's name.
        round_number: The round.
        summary: The Markdown file to write.

    Returns:
        The round's metrics, by the names that the pipeline shows.
    """
    store = Workspace.from_environment().federation()
    run_record = load_run(store, run)
    record = aggregate_round(store, run_record, round_number)
    progress = LogProgress()
    for sentence in [*map(str, record.data_changes), *record.limits]:
        progress.message(sentence)
    tracker = RunTracker(connect_from_environment(), run_record)
    tracker.log_round(record)
    summary.write_text(round_markdown(record, tracker.url))
    return _round_numbers(record)


def _round_numbers(record: RoundRecord) -> dict[str, float]:
    losses = record.losses
    return {
        "round": float(record.round),
        "participants": float(len(losses)),
        "client_loss_mean": sum(losses) / len(losses),
        **record.diagnostics,
        **({"epsilon": record.privacy.epsilon} if record.privacy else {}),
    }
