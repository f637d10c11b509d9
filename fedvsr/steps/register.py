"""The step that registers a run's best round."""

from pathlib import Path

from fedvsr.config.mlflow_names import check_registered_model
from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation
from fedvsr.federation.runs import load_run
from fedvsr.report.markdown import registration_markdown
from fedvsr.report.summary import summarise_run
from fedvsr.steps.evaluate import evaluation_numbers
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import connect_from_environment
from fedvsr.tracking.model_registry import register_run, version_url
from fedvsr.tracking.runs import RunTracker


def register(run: str, registered_model: str, summary: Path) -> dict[str, float]:
    """Registers a run's best round as the challenger and marks the run as finished in MLflow.

    Args:
        run: The run's name.
        registered_model: The registered model's name.
        summary: The Markdown file to write.

    Returns:
        The best round's scores, by the names that the pipeline shows.
    """
    check_registered_model(registered_model, "registered_model")
    store = Workspace.from_environment().federation()
    record = load_run(store, run)
    connection = connect_from_environment()
    registration = register_run(connection, store, record, registered_model)
    best = find_evaluation(store, run, registration.round)
    if best is None:
        raise NotFoundError(layout.evaluation(run, registration.round), store.uri)
    tracker = RunTracker(connection, record)
    tracker.log_summary(summarise_run(store, record))
    tracker.finish()
    numbers = evaluation_numbers(best)
    version = version_url(connection, registration.model, registration.model_version)
    summary.write_text(registration_markdown(registration, best, tracker.url, version))
    return numbers
