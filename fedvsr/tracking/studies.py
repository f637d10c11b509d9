"""Records a study in MLflow: a parent run, and one child run for each cell."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.filters import quoted

STUDY_TAG = "fedvsr.study"
CELL_TAG = "fedvsr.study_cell"


@dataclass(frozen=True)
class TrackedCell:
    """What MLflow gets of a cell.

    Attributes:
        id: Its name in the study.
        params: What distinguishes it from the other cells.
        metrics: The metrics of each evaluated round.
        failed: Whether it failed.
    """

    id: str
    params: Mapping[str, str]
    metrics: Mapping[int, Mapping[str, float]]
    failed: bool


def log_study(
    connection: MlflowConnection, name: str, cells: Iterable[TrackedCell], files: Iterable[Path]
) -> None:
    """Sends a study. What MLflow already has is not sent again, except for the files.

    Args:
        connection: The connection to MLflow.
        name: The study's name.
        cells: Its cells that have results or failed.
        files: Files that become the parent run's artifacts.

    Raises:
        fedvsr.errors.TrackingError: MLflow failed.
    """
    with connection.translating_errors("store the study"):
        parent = _find(connection, f"tags.`{STUDY_TAG}` = {quoted(name)}") or _create(
            connection, name, {STUDY_TAG: name}
        )
        parent_id = str(parent.info.run_id)
        for cell in cells:
            _log_cell(connection, parent_id, cell)
        for file in files:
            connection.client.log_artifact(parent_id, str(file))
        connection.client.set_terminated(parent_id)


def _log_cell(connection: MlflowConnection, parent_id: str, cell: TrackedCell) -> None:
    client = connection.client
    tags = {CELL_TAG: cell.id, MLFLOW_PARENT_RUN_ID: parent_id}
    run = _find(
        connection,
        f"tags.`{CELL_TAG}` = {quoted(cell.id)} and tags.`{MLFLOW_PARENT_RUN_ID}` = {quoted(parent_id)}",
    ) or _create(connection, cell.id, tags)
    run_id = str(run.info.run_id)
    now = int(time.time() * 1000)
    if len(run.data.metrics) == 0 and cell.metrics:
        metrics = [
            Metric(key, value, now, step)
            for step, values in cell.metrics.items()
            for key, value in values.items()
        ]
        client.log_batch(run_id, metrics=metrics, params=[Param(*item) for item in cell.params.items()])
    status = RunStatus.FAILED if cell.failed else RunStatus.FINISHED
    client.set_terminated(run_id, RunStatus.to_string(status))


def _create(connection: MlflowConnection, name: str, tags: Mapping[str, str]) -> Run:
    run = connection.client.create_run(connection.experiment_id(), run_name=name, tags=dict(tags))
    connection.client.log_batch(run.info.run_id, tags=[RunTag(*item) for item in tags.items()])
    return run


def _find(connection: MlflowConnection, filter_string: str) -> Run | None:
    runs = connection.client.search_runs([connection.experiment_id()], filter_string, max_results=1)
    return runs[0] if runs else None
