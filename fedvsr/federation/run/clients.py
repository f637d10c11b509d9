"""Who takes part in the federation."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from fedvsr.federation import layout
from fedvsr.federation.records import ClientRecord, write_record
from fedvsr.federation.runs import find_run
from fedvsr.store.base import Store


def add_client(store: Store, name: str) -> None:
    """Adds a client to those that a run without a list of its own draws from."""
    if not store.exists(layout.client(name)):
        write_record(store, layout.client(name), ClientRecord(name=name))


def client_names(store: Store) -> tuple[str, ...]:
    """Returns the names of the federation's clients, sorted."""
    return tuple(PurePosixPath(key).stem for key in store.keys(layout.CLIENTS))


def clients_of_run(
    store: Store, run: str, wanted: Sequence[str], choose: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """Returns a run's clients where it may name none: then those it was begun with, who may have left since.

    Args:
        store: The federation's store.
        run: The run's name.
        wanted: The clients that the run names.
        choose: Returns the clients where some are named or the run is new.
    """
    begun = None if wanted else find_run(store, run)
    return begun.config.federation.clients if begun else tuple(choose())


def deliveries(store: Store) -> dict[str, set[tuple[str, int]]]:
    """Returns the runs and rounds that each client has delivered an update for."""
    found: dict[str, set[tuple[str, int]]] = {}
    for key in store.keys("runs/"):
        parts = key.split("/")
        # runs/<run>/rounds/<r>/updates/<client>/report.json; round 0 is no round of training. A client's
        # rights end at any four characters in place of <r>, so it may have written other keys.
        if parts[-1] == "report.json" and len(parts) == 7 and parts[3].isdecimal() and int(parts[3]):
            found.setdefault(parts[5], set()).add((parts[1], int(parts[3])))
    return found
