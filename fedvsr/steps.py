"""The steps of the pipeline, as a container runs them.

Each is one call into `fedvsr.federation` or `fedvsr.tracking`, with the stores and MLflow that the
environment names (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, MLFLOW_TRACKING_URI) and with what a
person looks at written where the pipeline wants it: Markdown and HTML files, and numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedvsr.config.experiment import TrackingConfig
from fedvsr.config.run import RunConfig
from fedvsr.errors import NotFoundError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.aggregate import aggregate_round
from fedvsr.federation.clients import client_names
from fedvsr.federation.evaluate import evaluate_round, find_evaluation, is_evaluated
from fedvsr.federation.prepare import find_run, load_run, prepare_run, rounds_left
from fedvsr.federation.records import EvaluationRecord, RoundRecord
from fedvsr.federation.sampling import select_clients
from fedvsr.federation.sharding import shard_client, shard_evaluation
from fedvsr.federation.training_round import train_round
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import outcomes_markdown, registration_markdown, round_markdown, shards_markdown
from fedvsr.report.page import gain, render_page
from fedvsr.report.summary import summarise_run
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import Connection, connect
from fedvsr.tracking.registry import register_run
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.warm_start import initial_weights

Round = dict[str, Any]


def prepare(settings: Mapping[str, Any]) -> list[Round]:
    """Validates a run's settings, writes its record and initial weights, or finds the run and goes on.

    Args:
        settings: Values by dotted name of `fedvsr.config.run.RunConfig`'s fields. Without
            ``federation.clients`` all clients of the federation take part.

    Returns:
        The rounds that are left: number, previous round, and clients of each.
    """
    workspace = Workspace.from_environment()
    store = workspace.federation()
    values = _nested(settings)
    federation = values.setdefault("federation", {})
    if not federation.get("clients"):
        federation["clients"] = client_names(store)
    config = RunConfig.parse(values)
    tracking = TrackingConfig()
    initial = None
    # What a begun run started from is in its store; the champion of today may be another.
    if config.warm_start and not find_run(store, config.name):
        initial = initial_weights(_connection(), config, tracking.registered_model)
    record = prepare_run(store, config, initial)
    RunTracker(_connection(), record)
    limits = record.config.federation
    return [
        {
            "round": round,
            "previous": round - 1,
            "clients": list(
                select_clients(limits.clients, limits.clients_per_round, config.name, config.seed, round)
            ),
        }
        for round in rounds_left(store, record)
    ]


def shard(run: str, summary: Path) -> None:
    """Makes the shards of a run's clients and of the held-out clips, or finds them current."""
    workspace = Workspace.from_environment()
    config = load_run(workspace.federation(), run).config
    progress = LogProgress()
    manifests = {"held-out": shard_evaluation(workspace, config.data, progress)}
    failures: dict[str, str] = {}
    for client in config.federation.clients:
        try:
            manifests[client] = shard_client(workspace, client, config.data, progress)
        except VideoError as error:
            # Its training will fail for the same reason; whether that matters is for the quorum to say.
            failures[client] = str(error)
            progress.message(f"client {client}: {error}")
    summary.write_text(shards_markdown(manifests, failures))


def train_clients(run: str, round: int, summary: Path) -> None:
    """Has a round's clients train; ends well whatever becomes of them."""
    record = train_round(Workspace.from_environment(), run, round, progress=LogProgress())
    summary.write_text(outcomes_markdown(record))


def aggregate(run: str, round: int, summary: Path) -> dict[str, float]:
    """Aggregates a round and sends it to MLflow; returns the numbers to show."""
    store = Workspace.from_environment().federation()
    record = aggregate_round(store, run, round)
    RunTracker(_connection(), load_run(store, run)).log_round(record)
    summary.write_text(round_markdown(record))
    return _round_numbers(record)


def evaluate(run: str, round: int, page: Path) -> dict[str, float]:
    """Judges a round's weights, where that is due, and sends the numbers to MLflow; returns them."""
    store = Workspace.from_environment().federation()
    record = load_run(store, run)
    found: EvaluationRecord | None = None
    if round != layout.INITIAL_ROUND and is_evaluated(record.config, round):
        found = evaluate_round(store, run, round, LogProgress())
        RunTracker(_connection(), record).log_evaluation(found)
    page.write_text(render_page(summarise_run(store, run)))
    return _evaluation_numbers(found) if found else {}


def register(run: str, registered_model: str, summary: Path) -> dict[str, float]:
    """Registers a run's best round as the challenger; returns its numbers."""
    store = Workspace.from_environment().federation()
    connection = _connection()
    registration = register_run(connection, store, run, registered_model)
    found = summarise_run(store, run)
    tracker = RunTracker(connection, found.record)
    tracker.log_summary(found)
    tracker.finish()
    summary.write_text(registration_markdown(registration, connection.uri))
    best = find_evaluation(store, run, registration.round)
    if best is None:
        raise NotFoundError(layout.evaluation(run, registration.round), store.uri)
    return _evaluation_numbers(best)


def _connection() -> Connection:
    return connect(TrackingConfig(), "s3://")


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in _with_integers(dict(settings)).items():
        *sections, leaf = name.split(".")
        target = result
        for section in sections:
            target = target.setdefault(section, {})
        target[leaf] = value
    return result


def _with_integers(value: Any) -> Any:
    """Undoes what a pipeline's parameters go through, where every number becomes a float."""
    if isinstance(value, dict):
        return {key: _with_integers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_integers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _round_numbers(record: RoundRecord) -> dict[str, float]:
    losses = record.losses
    return {
        "round": float(record.round),
        "participants": float(len(losses)),
        "client_loss_mean": sum(losses) / len(losses),
        **record.diagnostics,
    }


def _evaluation_numbers(evaluation: EvaluationRecord) -> dict[str, float]:
    return {
        "round": float(evaluation.round),
        "psnr_y": evaluation.mean("psnr_y"),
        "psnr_y_over_bicubic": gain(evaluation),
        "ssim_y": evaluation.mean("ssim_y"),
    }
