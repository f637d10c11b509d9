"""The runs in a store: their names, records, rounds and weights."""

from dataclasses import dataclass

from fedvsr.errors import NotFoundError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.privacy_budget import planned_rounds
from fedvsr.federation.records import RoundRecord, RunRecord, read_record
from fedvsr.store.base import Store


def find_run(store: Store, run: str) -> RunRecord | None:
    """Returns a run's record, or None if the run does not exist."""
    try:
        return read_record(store, layout.config(run), RunRecord)
    except NotFoundError:
        return None


def load_run(store: Store, run: str) -> RunRecord:
    """Returns a run's record; raises `fedvsr.errors.UnknownNameError` if the run does not exist."""
    record = find_run(store, run)
    if record is None:
        raise UnknownNameError(f"run (in {store.uri})", run, run_names(store))
    return record


def run_names(store: Store) -> list[str]:
    """Returns the names of the runs in a store."""
    suffix = "/config.json"
    return [
        key.removeprefix("runs/").removesuffix(suffix) for key in store.keys("runs/") if key.endswith(suffix)
    ]


def rounds_left(store: Store, record: RunRecord) -> list[int]:
    """Returns the numbers of the rounds that have not ended, in order."""
    name, rounds = record.config.name, planned_rounds(record.config)
    return [
        round_number
        for round_number in range(1, rounds + 1)
        if not store.exists(layout.round_record(name, round_number))
    ]


def last_ended_round(store: Store, record: RunRecord) -> int:
    """Returns the number of the last round that has ended; 0, the initial weights, if none has."""
    remaining_rounds = rounds_left(store, record)
    return remaining_rounds[0] - 1 if remaining_rounds else planned_rounds(record.config)


@dataclass(frozen=True)
class RoundDigests:
    """The SHA-256 of what a round has written.

    Attributes:
        weights: The global weights.
        strategy_state: The strategy state; None if the strategy has none.
        server_state: The server optimiser's state; None if there is none.
        averaged: The average of several rounds' global weights; None if there is none.
    """

    weights: str
    strategy_state: str | None = None
    server_state: str | None = None
    averaged: str | None = None


def digests_after_round(store: Store, record: RunRecord, round_number: int) -> RoundDigests:
    """Returns the digests of what a round has written.

    Raises:
        fedvsr.errors.NotFoundError: The round has not ended.
    """
    if round_number == layout.INITIAL_ROUND:
        return RoundDigests(record.initial_digest)
    ended = read_record(store, layout.round_record(record.config.name, round_number), RoundRecord)
    return RoundDigests(
        ended.global_digest, ended.strategy_digest, ended.server_digest, ended.averaged_digest
    )
