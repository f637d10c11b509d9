"""Submits, lists and stops runs of the pipeline."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fedvsr.config.run import FederationConfig
from fedvsr.errors import InputError, PipelinesError, UnknownNameError
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.kubeflow.pipeline import PipelineVersion

SUCCEEDED = "SUCCEEDED"
_PENDING = "PENDING"
_ACTIVE_STATES = (_PENDING, "RUNNING", "PAUSED", "CANCELING")
# How long a stopped run may take to end.
_STOPPING_SECONDS = 120.0
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class PipelineRun:
    """A run of the pipeline in KFP. A run (see the glossary) that was continued has several pipeline runs.

    Attributes:
        name: The run's name.
        run_id: The pipeline run's ID in KFP.
        state: KFP's state, such as SUCCEEDED.
        submitted_at: When it was submitted.
        ended_at: When it ended; None if it has not ended.
        rounds: Number of rounds of the run.
        error: KFP's error message; empty if there is none.
    """

    name: str
    run_id: str
    state: str
    submitted_at: datetime
    ended_at: datetime | None
    rounds: int
    error: str

    @property
    def is_active(self) -> bool:
        """Whether it has not ended yet, according to KFP."""
        return self.state in _ACTIVE_STATES

    @property
    def seconds(self) -> float:
        """Seconds from its submission to its end, or to now if it has not ended."""
        return ((self.ended_at or datetime.now(UTC)) - self.submitted_at).total_seconds()


def submit(
    connection: KfpConnection, version: PipelineVersion, kfp_experiment: str, parameters: Mapping[str, Any]
) -> PipelineRun:
    """Submits a pipeline run.

    Args:
        connection: The connection to KFP's API.
        version: The pipeline's version.
        kfp_experiment: The experiment in KFP; it is created if it does not exist.
        parameters: The pipeline's parameters. ``run_name`` also names the pipeline run in KFP.

    Raises:
        fedvsr.errors.InputError: A pipeline run of the same run is active; both would write the same rounds.
    """
    name = parameters["run_name"]
    active_run = next(_active_runs(connection, version.pipeline_id, name), None)
    if active_run:
        raise InputError(
            f"run {name!r} is still active, {connection.run_url(active_run.run_id)}; wait until it ends, or "
            "stop it and continue it with --replace"
        )
    submitted = connection.post(
        "/runs",
        {
            "display_name": name,
            "experiment_id": _get_or_create_experiment(connection, kfp_experiment),
            "pipeline_version_reference": {
                "pipeline_id": version.pipeline_id,
                "pipeline_version_id": version.version_id,
            },
            "runtime_config": {"parameters": dict(parameters)},
        },
    )
    return _parse_run(submitted)


def stop(connection: KfpConnection, pipeline_id: str, name: str) -> None:
    """Stops all active pipeline runs with this name and waits until they end.

    If a run's workflow was deleted, the run is archived instead.

    Raises:
        fedvsr.errors.PipelinesError: A run does not end.
    """
    for run in _active_runs(connection, pipeline_id, name):
        try:
            connection.post(f"/runs/{run.run_id}:terminate", {})
        except PipelinesError as error:
            if "not found" not in str(error):
                raise
            # The run's workflow was deleted. KFP would show the run as running forever, so hide it.
            connection.post(f"/runs/{run.run_id}:archive", {})
            continue
        _wait_for_end(connection, run)


def list_runs(
    connection: KfpConnection, pipeline_id: str, *conditions: Mapping[str, Any]
) -> Iterator[PipelineRun]:
    """Yields the runs of a pipeline that are not archived, newest first.

    Args:
        connection: The connection to KFP's API.
        pipeline_id: The pipeline's ID in KFP.
        conditions: Predicates of KFP's filter that the runs must satisfy.
    """
    available = {"operation": "EQUALS", "key": "storage_state", "string_value": "AVAILABLE"}
    predicates = json.dumps({"predicates": [available, *conditions]})
    for entry in connection.pages("/runs", "runs", sort_by="created_at desc", filter=predicates):
        # KFP cannot filter by pipeline.
        if entry.get("pipeline_version_reference", {}).get("pipeline_id") == pipeline_id:
            yield _parse_run(entry)


def get_newest_run(connection: KfpConnection, pipeline_id: str, name: str) -> PipelineRun:
    """Returns the newest pipeline run whose name, or whose ID in KFP, is ``name``.

    Raises:
        fedvsr.errors.UnknownNameError: There is no such run.
    """
    known = set()
    for run in list_runs(connection, pipeline_id):
        if name in (run.name, run.run_id):
            return run
        known.add(run.name)
    raise UnknownNameError("run", name, known, "`fedvsr runs` lists them")


def get_run(connection: KfpConnection, run_id: str) -> PipelineRun:
    """Returns a pipeline run in its current state."""
    return _parse_run(connection.get(f"/runs/{run_id}"))


def _wait_for_end(
    connection: KfpConnection, run: PipelineRun, sleep: Callable[[float], None] = time.sleep
) -> None:
    deadline = time.monotonic() + _STOPPING_SECONDS
    while get_run(connection, run.run_id).is_active:
        if time.monotonic() > deadline:
            raise PipelinesError(
                f"run {run.name!r} has not stopped within {_STOPPING_SECONDS:.0f} s; see "
                f"{connection.run_url(run.run_id)}"
            )
        sleep(_POLL_SECONDS)


def _active_runs(connection: KfpConnection, pipeline_id: str, name: str) -> Iterator[PipelineRun]:
    is_active = {"operation": "IN", "key": "state", "string_values": {"values": list(_ACTIVE_STATES)}}
    return (run for run in list_runs(connection, pipeline_id, is_active) if run.name == name)


def _parse_run(entry: Mapping[str, Any]) -> PipelineRun:
    parameters = entry.get("runtime_config", {}).get("parameters", {})
    return PipelineRun(
        name=parameters.get("run_name", entry["display_name"]),
        run_id=entry["run_id"],
        state=entry.get("state", _PENDING),
        submitted_at=_parse_time(entry["created_at"]) or datetime.now(UTC),
        ended_at=_parse_time(entry.get("finished_at", "")),
        rounds=int(parameters.get("rounds", FederationConfig().rounds)),
        error=entry.get("error", {}).get("message", ""),
    )


def _parse_time(text: str) -> datetime | None:
    """Returns the time, or None if there is none; for "not yet", KFP writes 1970-01-01."""
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment and moment.timestamp() > 0 else None


def _get_or_create_experiment(connection: KfpConnection, name: str) -> str:
    """Returns the ID of the experiment in KFP; creates the experiment if it does not exist."""
    predicates = {"predicates": [{"operation": "EQUALS", "key": "name", "string_value": name}]}
    for entry in connection.pages("/experiments", "experiments", filter=json.dumps(predicates)):
        return str(entry["experiment_id"])
    return str(connection.post("/experiments", {"display_name": name})["experiment_id"])
