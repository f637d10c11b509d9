"""Who takes part in the federation."""

from pathlib import PurePosixPath

from fedvsr.federation import layout
from fedvsr.federation.records import ClientRecord, write_record
from fedvsr.store.base import Store


def add_client(store: Store, name: str) -> None:
    """Adds a client to those that a run without a list of its own draws from."""
    if not store.exists(layout.client(name)):
        write_record(store, layout.client(name), ClientRecord(name=name))


def client_names(store: Store) -> tuple[str, ...]:
    """Returns the names of the federation's clients, sorted."""
    return tuple(PurePosixPath(key).stem for key in store.keys(layout.CLIENTS))
