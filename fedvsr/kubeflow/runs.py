"""Runs of the pipeline: submitting one, finding them, waiting for an end."""

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
_GOING = ("PENDING", "RUNNING", "PAUSED", "CANCELING")
# How long a run that is stopped may take to come to its end.
_STOPPING_SECONDS = 120.0
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Run:
    """One run of the pipeline in KFP; a federated run that was continued has several.

    Attributes:
        name: The federated run's name.
        run_id: Its id in KFP.
        state: KFP's word for where it is.
        created: When it was submitted.
        finished: When it ended, if it did.
        rounds: How many rounds the federated run is to have.
        error: What KFP says of a failure.
    """

    name: str
    run_id: str
    state: str
    created: datetime
    finished: datetime | None
    rounds: int
    error: str

    @property
    def going(self) -> bool:
        """Whether KFP holds it for one that goes on."""
        return self.state in _GOING

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return ((self.finished or datetime.now(UTC)) - self.created).total_seconds()


def submit(
    connection: Connection, version: PipelineVersion, experiment: str, parameters: Mapping[str, Any]
) -> Run:
    """Starts a run.

    Args:
        connection: The KFP.
        version: The pipeline's version.
        experiment: KFP's experiment, made where there is none.
        parameters: The pipeline's parameters; ``run_name`` names the run in KFP too.

    Raises:
        fedvsr.errors.InputError: A run of that name is going on: both would write the same rounds.
    """
    name = parameters["run_name"]
    going = next(_going(connection, version.pipeline_id, name), None)
    if going:
        raise InputError(
            f"run {name!r} is going on, {connection.run_url(going.run_id)}; wait for its end, or stop it and "
            "go on where it ended with --replace"
        )
    made = connection.post(
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
    return _run(made)


def stop(connection: Connection, pipeline_id: str, name: str) -> None:
    """Stops what goes on under a run's name, and waits for its end.

    Raises:
        fedvsr.errors.PipelinesError: It does not come to an end.
    """
    for run in _going(connection, pipeline_id, name):
        try:
            connection.post(f"/runs/{run.run_id}:terminate", {})
        except PipelinesError as error:
            if "not found" not in str(error):
                raise
            # Its workflow was deleted: KFP would show it as going on for ever.
            connection.post(f"/runs/{run.run_id}:archive", {})
            continue
        _wait_for_end(connection, run)


def list_runs(connection: Connection, pipeline_id: str) -> Iterator[Run]:
    """Yields the runs of a pipeline, the newest first."""
    return _runs(connection, pipeline_id)


def newest_run(connection: Connection, pipeline_id: str, name: str) -> Run:
    """Returns the newest run of a name, or the one that has it as its id in KFP.

    Raises:
        fedvsr.errors.UnknownNameError: There is none.
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
    until = time.monotonic() + _STOPPING_SECONDS
    while get_run(connection, run.run_id).going:
        if time.monotonic() > until:
            raise PipelinesError(
                f"run {run.name!r} was told to stop {_STOPPING_SECONDS:.0f} s ago and has not; look at "
                f"{connection.run_url(run.run_id)}"
            )
        sleep(_POLL_SECONDS)


def _going(connection: Connection, pipeline_id: str, name: str) -> Iterator[Run]:
    condition = {"operation": "IN", "key": "state", "string_values": {"values": list(_GOING)}}
    return (each for each in _runs(connection, pipeline_id, condition) if each.name == name)


def _runs(connection: Connection, pipeline_id: str, *conditions: Mapping[str, Any]) -> Iterator[Run]:
    """The pipeline's runs that are not archived, the newest first; KFP cannot filter by pipeline."""
    available = {"operation": "EQUALS", "key": "storage_state", "string_value": "AVAILABLE"}
    predicates = json.dumps({"predicates": [available, *conditions]})
    for found in connection.pages("/runs", "runs", sort_by="created_at desc", filter=predicates):
        if found.get("pipeline_version_reference", {}).get("pipeline_id") == pipeline_id:
            yield _run(found)


def _run(found: Mapping[str, Any]) -> Run:
    parameters = found.get("runtime_config", {}).get("parameters", {})
    finished = _time(found.get("finished_at", ""))
    return Run(
        name=parameters.get("run_name", found["display_name"]),
        run_id=found["run_id"],
        state=found.get("state", _GOING[0]),
        created=_time(found["created_at"]) or datetime.now(UTC),
        finished=finished,
        rounds=int(parameters.get("rounds", FederationConfig().rounds)),
        error=found.get("error", {}).get("message", ""),
    )


def _time(text: str) -> datetime | None:
    """KFP's "not yet" is the beginning of 1970."""
    found = datetime.fromisoformat(text) if text else None
    return found if found and found.timestamp() > 0 else None


def _experiment_id(connection: Connection, name: str) -> str:
    predicates = {"predicates": [{"operation": "EQUALS", "key": "name", "string_value": name}]}
    for found in connection.pages("/experiments", "experiments", filter=json.dumps(predicates)):
        return str(found["experiment_id"])
    return str(connection.post("/experiments", {"display_name": name})["experiment_id"])
