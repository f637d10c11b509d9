"""The clients of a federation and of a run."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from fedvsr.federation import layout
from fedvsr.federation.records import ClientRecord, RunRecord, write_record
from fedvsr.store.base import Store


def add_client(store: Store, name: str) -> None:
    """Adds a client to the federation, unless it is a member. A run that names no clients has all of them."""
    if not store.exists(layout.client(name)):
        write_record(store, layout.client(name), ClientRecord(name=name))


def client_names(store: Store) -> tuple[str, ...]:
    """Returns the names of the federation's clients, sorted."""
    return tuple(PurePosixPath(key).stem for key in store.keys(layout.CLIENTS))


def clients_of_run(
    stored_record: RunRecord | None, requested_clients: Sequence[str], choose: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """Returns a run's clients.

    If the run is stored and no clients are requested, they are those of its record, even if some of them
    have left the federation. Otherwise they are those that ``choose`` returns.

    Args:
        stored_record: The run's record in the store; None for a new run.
        requested_clients: The clients that the configuration names; may be empty.
        choose: Chooses the clients. Called only if clients are requested or the run is new.
    """
    if stored_record and not requested_clients:
        return stored_record.config.federation.clients
    return tuple(choose())


def deliveries(store: Store) -> dict[str, set[tuple[str, int]]]:
    """Returns the runs and rounds that each client has delivered an update for."""
    rounds_by_client: dict[str, set[tuple[str, int]]] = {}
    for key in store.keys("runs/"):
        parts = key.split("/")
        # runs/<run>/rounds/<r>/updates/<client>/report.json. Clients have no round 0. A client may write
        # keys with any four characters as <r>, so <r> is not always a number.
        if parts[-1] == "report.json" and len(parts) == 7 and parts[3].isdecimal() and int(parts[3]):
            rounds_by_client.setdefault(parts[5], set()).add((parts[1], int(parts[3])))
    return rounds_by_client
