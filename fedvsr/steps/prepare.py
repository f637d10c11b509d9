"""The step that begins a run or finds it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedvsr.cluster.settings import choose_clients, clients_from_environment
from fedvsr.config.experiment import TrackingConfig
from fedvsr.config.run import RunConfig
from fedvsr.federation.run.clients import client_names, clients_of_run
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.runs import rounds_left
from fedvsr.federation.sampling import select_clients
from fedvsr.steps.mlflow_connection import environment_connection
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.warm_start import weights_of_new_run

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
    connection = environment_connection()
    initial = weights_of_new_run(connection, store, config, TrackingConfig().registered_model)
    record = prepare_run(store, config, initial)
    RunTracker(connection, record)
    limits = record.config.federation
    return [
        {
            "round": round_number,
            "previous": round_number - 1,
            "clients": list(
                select_clients(
                    limits.clients, limits.clients_per_round, config.name, config.seed, round_number
                )
            ),
        }
        for round_number in rounds_left(store, record)
    ]


def _clients(store: Store, run: str, wanted: Sequence[str]) -> Sequence[str]:
    def choose() -> Sequence[str]:
        deployed = clients_from_environment()
        return choose_clients(deployed, wanted) if deployed is not None else wanted or client_names(store)

    return clients_of_run(store, run, wanted, choose)


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
