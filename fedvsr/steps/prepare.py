"""The step that begins a run or finds it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedvsr.cluster.settings import choose_clients, clients_from_environment
from fedvsr.config.experiment import TrackingConfig
from fedvsr.config.run import RunConfig
from fedvsr.federation.clients import client_names
from fedvsr.federation.prepare import find_run, prepare_run, rounds_left
from fedvsr.federation.sampling import select_clients
from fedvsr.steps.mlflow_connection import environment_connection
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.warm_start import initial_weights

Round = dict[str, Any]


def prepare(settings: Mapping[str, Any]) -> list[Round]:
    """Validates a run's settings, writes its record and initial weights, or finds the run and goes on.

    Args:
        settings: Values by dotted name of `fedvsr.config.run.RunConfig`'s fields. Without
            ``federation.clients`` all clients take part: those of the deployment, which FEDVSR_CLIENTS
            describes, or those that the federation's store lists.

    Returns:
        The rounds that are left: number, previous round, and clients of each.
    """
    workspace = Workspace.from_environment()
    store = workspace.federation()
    values = _nested(settings)
    federation = values.setdefault("federation", {})
    federation["clients"] = _clients(store, str(values.get("name")), federation.get("clients") or ())
    config = RunConfig.parse(values)
    tracking = TrackingConfig()
    initial = None
    # What a begun run started from is in its store; the champion of today may be another.
    if config.warm_start and not find_run(store, config.name):
        initial = initial_weights(environment_connection(), config, tracking.registered_model)
    record = prepare_run(store, config, initial)
    RunTracker(environment_connection(), record)
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


def _clients(store: Store, run: str, wanted: Sequence[str]) -> Sequence[str]:
    """Those that are wanted; else those that the run was begun with, or all there are for a new one."""
    begun = None if wanted else find_run(store, run)
    if begun:
        return begun.config.federation.clients
    deployed = clients_from_environment()
    return choose_clients(deployed, wanted) if deployed is not None else wanted or client_names(store)


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
