"""The step that starts or continues a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedvsr.cluster.settings import clients_from_environment, require_virtual_clients
from fedvsr.config.experiment import Experiment, TrackingConfig
from fedvsr.config.mlflow_names import check_registered_model
from fedvsr.config.run import RunConfig
from fedvsr.errors import UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.division_records import DivisionRecord
from fedvsr.federation.owner.virtual import divide_stored_videos
from fedvsr.federation.records import RunRecord, write_record
from fedvsr.federation.run.clients import client_names, clients_of_run
from fedvsr.federation.run.sites import active_sites
from fedvsr.federation.runs import find_run, rounds_left
from fedvsr.federation.sampling import select_clients
from fedvsr.progress import LogProgress
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import connect_from_environment
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.start import validate_start

Round = dict[str, Any]


def prepare(
    settings: Mapping[str, Any], registered_model: str = TrackingConfig().registered_model
) -> list[Round]:
    """Checks a run's settings, then starts the run or continues it.

    Args:
        settings: Values by the dotted names of `fedvsr.config.run.RunConfig`'s fields. Without
            ``federation.clients`` all clients take part: the sites, and the clients of the deployment, which
            FEDVSR_CLIENTS describes, or without a deployment those in the federation's store. With
            ``clients.split.count``, the clients are virtual: the videos in the federation's store are divided
            among them as ``clients.split`` says.
        registered_model: The registered model of the last step, and of ``warm_start: champion``. Its name is
            checked here, because registration would refuse it only after the training.

    Returns:
        The rounds that have not ended. Each has its number (``round``), the number of the round before
        (``previous``) and the names of its clients (``clients``).

    Raises:
        fedvsr.errors.FedVSRError: The run is refused. Nothing has been written.
    """
    check_registered_model(registered_model, "registered_model")
    store = Workspace.from_environment().federation()
    values = _nested(settings)
    split = _pop_split(values)
    # Checked first and separately, because the name is part of a key in the store.
    name = RunConfig.parse({field: value for field, value in values.items() if field == "name"}).name
    stored = find_run(store, name)
    federation = values.setdefault("federation", {})
    division = _divide(store, values, split) if split else None
    if division:
        federation["clients"] = _virtual_clients(division, federation.get("clients") or ())
    else:
        federation["clients"] = _clients(store, stored, federation.get("clients") or ())
    config = RunConfig.parse(values)
    start = validate_start(config, stored, connect_from_environment, registered_model)
    for warning in start.warnings:
        print(f"warning: {warning}")
    if division:
        write_record(store, layout.division(name), division)
    record = start.write(store)
    # Creates the run in MLflow for the steps that follow.
    RunTracker(start.connection, record)
    return [_round(config, round_number) for round_number in rounds_left(store, record)]


def _pop_split(values: dict[str, Any]) -> dict[str, Any]:
    """Removes the section ``clients.split`` from a run's values; returns it, empty if it asks for nothing."""
    section = values.get("clients")
    if not isinstance(section, dict) or set(section) != {"split"}:
        # Another section is refused with the others that a run does not have.
        return {}
    del values["clients"]
    split: dict[str, Any] = section["split"]
    return split


def _divide(store: Store, values: Mapping[str, Any], split: Mapping[str, Any]) -> DivisionRecord:
    """Divides the videos in the federation's store as the section ``clients.split`` says."""
    # The videos have one place in a deployment, so the path of the section is not used.
    section = {"split": {"path": layout.TRAINING_VIDEOS, **split}}
    experiment = Experiment.parse({**values, "clients": section})
    if experiment.clients.split is None:
        raise AssertionError("a section that is set is parsed")
    require_virtual_clients()
    return divide_stored_videos(
        store, experiment.clients.split, experiment.seed, experiment.data, LogProgress()
    )


def _virtual_clients(division: DivisionRecord, requested_clients: Sequence[str]) -> Sequence[str]:
    for name in requested_clients:
        if name not in division.clients:
            raise UnknownNameError("client", name, division.clients, "clients.split.count says how many")
    return tuple(requested_clients) or tuple(division.clients)


def _clients(store: Store, stored: RunRecord | None, requested_clients: Sequence[str]) -> Sequence[str]:
    def choose() -> Sequence[str]:
        deployed = clients_from_environment()
        if deployed is None:
            return requested_clients or (*client_names(store), *active_sites(store))
        # Imported here because it needs the Kubernetes library.
        from fedvsr.cluster.remote import RemoteClients

        return RemoteClients(store, deployed).choose(requested_clients)

    return clients_of_run(stored, requested_clients, choose)


def _round(config: RunConfig, round_number: int) -> Round:
    federation = config.federation
    clients = select_clients(
        federation.clients, federation.clients_per_round, config.name, config.seed, round_number
    )
    return {"round": round_number, "previous": round_number - 1, "clients": list(clients)}


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
    """Turns whole floats back into integers. A pipeline's parameters turn every number into a float."""
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
