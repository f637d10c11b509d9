"""The step that registers a run's best round."""

from pathlib import Path

from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation
from fedvsr.report.markdown import registration_markdown
from fedvsr.report.summary import summarise_run
from fedvsr.steps.evaluation_numbers import evaluation_numbers
from fedvsr.steps.mlflow_connection import environment_connection
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.links import run_link, version_link
from fedvsr.tracking.registry import register_run
from fedvsr.tracking.runs import RunTracker


def register(run: str, registered_model: str, summary: Path) -> dict[str, float]:
    """Registers a run's best round as the challenger; returns its numbers."""
    store = Workspace.from_environment().federation()
    connection = environment_connection()
    registration = register_run(connection, store, run, registered_model)
    best = find_evaluation(store, run, registration.round)
    if best is None:
        raise NotFoundError(layout.evaluation(run, registration.round), store.uri)
    found = summarise_run(store, run)
    tracker = RunTracker(connection, found.record)
    tracker.log_summary(found)
    tracker.finish()
    numbers = evaluation_numbers(best)
    version = version_link(connection, registration.model, registration.model_version)
    summary.write_text(registration_markdown(registration, numbers, run_link(connection, tracker), version))
    return numbers
