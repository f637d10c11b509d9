"""Runs of the pipeline: submits, lists and stops them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fedvsr.config.run import FederationConfig
from fedvsr.errors import InputError, PipelinesError, UnknownNameError
from fedvsr.kubeflow.connection import Connection
from fedvsr.kubeflow.pipeline import PipelineVersion

SUCCEEDED = "SUCCEEDED"
_GOING_STATES = ("PENDING", "RUNNING", "PAUSED", "CANCELING")
# How long a stopped run may take to end.
_STOPPING_SECONDS = 120.0
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Run:
    """One run of the pipeline in KFP. A federated run that was continued has several.

    Attributes:
        name: The federated run's name.
        run_id: The id in KFP.
        state: KFP's state, such as SUCCEEDED.
        created: When it was submitted.
        finished: When it ended; None if it has not ended.
        rounds: The number of rounds of the federated run.
        error: KFP's error message; empty if there is none.
    """

    name: str
    run_id: str
    state: str
    created: datetime
    finished: datetime | None
    rounds: int
    error: str

    @property
    def is_going(self) -> bool:
        """Whether the run has not ended yet, according to KFP."""
        return self.state in _GOING_STATES

    @property
    def seconds(self) -> float:
        """How long the run took, or has taken so far."""
        return ((self.finished or datetime.now(UTC)) - self.created).total_seconds()


def submit(
    connection: Connection, version: PipelineVersion, experiment: str, parameters: Mapping[str, Any]
) -> Run:
    """Starts a run.

    Args:
        connection: The KFP.
        version: The pipeline's version.
        experiment: The experiment in KFP; it is made if it does not exist.
        parameters: The pipeline's parameters. ``run_name`` also names the run in KFP.

    Raises:
        fedvsr.errors.InputError: A run of that name is going on; both would write the same rounds.
    """
    name = parameters["run_name"]
    going_run = next(_going_runs(connection, version.pipeline_id, name), None)
    if going_run:
        raise InputError(
            f"run {name!r} is going on, {connection.run_url(going_run.run_id)}; wait for its end, or stop it "
            "and continue it with --replace"
        )
    submitted = connection.post(
        "/runs",
        {
            "display_name": name,
            "experiment_id": _experiment_id(connection, experiment),
            "pipeline_version_reference": {
                "pipeline_id": version.pipeline_id,
                "pipeline_version_id": version.version_id,
            },
            "runtime_config": {"parameters": dict(parameters)},
        },
    )
    return _run(submitted)


def stop(connection: Connection, pipeline_id: str, name: str) -> None:
    """Stops the runs of a name that are going on, and waits until they have ended.

    Raises:
        fedvsr.errors.PipelinesError: A run does not end.
    """
    for run in _going_runs(connection, pipeline_id, name):
        try:
            connection.post(f"/runs/{run.run_id}:terminate", {})
        except PipelinesError as error:
            if "not found" not in str(error):
                raise
            # The run's workflow was deleted. KFP would show the run as going on forever.
            connection.post(f"/runs/{run.run_id}:archive", {})
            continue
        _wait_for_end(connection, run)


def list_runs(connection: Connection, pipeline_id: str) -> Iterator[Run]:
    """Yields the runs of a pipeline, newest first."""
    return _runs(connection, pipeline_id)


def get_newest_run(connection: Connection, pipeline_id: str, name: str) -> Run:
    """Returns the newest run whose name, or whose id in KFP, is ``name``.

    Raises:
        fedvsr.errors.UnknownNameError: There is no such run.
    """
    known = set()
    for run in _runs(connection, pipeline_id):
        if name in (run.name, run.run_id):
            return run
        known.add(run.name)
    raise UnknownNameError("run", name, known, "`fedvsr runs` lists them")


def get_run(connection: Connection, run_id: str) -> Run:
    """Returns a run as it is now."""
    return _run(connection.get(f"/runs/{run_id}"))


def _wait_for_end(connection: Connection, run: Run, sleep: Callable[[float], None] = time.sleep) -> None:
    deadline = time.monotonic() + _STOPPING_SECONDS
    while get_run(connection, run.run_id).is_going:
        if time.monotonic() > deadline:
            raise PipelinesError(
                f"run {run.name!r} has not stopped within {_STOPPING_SECONDS:.0f} s; see "
                f"{connection.run_url(run.run_id)}"
            )
        sleep(_POLL_SECONDS)


def _going_runs(connection: Connection, pipeline_id: str, name: str) -> Iterator[Run]:
    condition = {"operation": "IN", "key": "state", "string_values": {"values": list(_GOING_STATES)}}
    return (run for run in _runs(connection, pipeline_id, condition) if run.name == name)


def _runs(connection: Connection, pipeline_id: str, *conditions: Mapping[str, Any]) -> Iterator[Run]:
    """Yields the pipeline's runs that are not archived, newest first. KFP cannot filter by pipeline."""
    available = {"operation": "EQUALS", "key": "storage_state", "string_value": "AVAILABLE"}
    predicates = json.dumps({"predicates": [available, *conditions]})
    for entry in connection.pages("/runs", "runs", sort_by="created_at desc", filter=predicates):
        if entry.get("pipeline_version_reference", {}).get("pipeline_id") == pipeline_id:
            yield _run(entry)


def _run(entry: Mapping[str, Any]) -> Run:
    parameters = entry.get("runtime_config", {}).get("parameters", {})
    return Run(
        name=parameters.get("run_name", entry["display_name"]),
        run_id=entry["run_id"],
        state=entry.get("state", _GOING_STATES[0]),
        created=_parse_time(entry["created_at"]) or datetime.now(UTC),
        finished=_parse_time(entry.get("finished_at", "")),
        rounds=int(parameters.get("rounds", FederationConfig().rounds)),
        error=entry.get("error", {}).get("message", ""),
    )


def _parse_time(text: str) -> datetime | None:
    """Returns a time, or None for KFP's "not yet", the beginning of 1970."""
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment and moment.timestamp() > 0 else None


def _experiment_id(connection: Connection, name: str) -> str:
    predicates = {"predicates": [{"operation": "EQUALS", "key": "name", "string_value": name}]}
    for entry in connection.pages("/experiments", "experiments", filter=json.dumps(predicates)):
        return str(entry["experiment_id"])
    return str(connection.post("/experiments", {"display_name": name})["experiment_id"])
