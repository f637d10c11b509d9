"""Everything that is known of a run, gathered from its store."""

from dataclasses import dataclass

from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import best_of, evaluations
from fedvsr.federation.records import (
    EvaluationRecord,
    RegistrationRecord,
    RoundRecord,
    RunRecord,
    read_record,
)
from fedvsr.store.base import Store


@dataclass(frozen=True)
class RunSummary:
    """A run so far.

    Attributes:
        record: What the run is.
        rounds: The rounds that have ended, in order.
        evaluations: The evaluations, in order.
        best: The evaluation with the highest PSNR (Y), if a trained round has one.
        crops: The best evaluation's crops as PNG.
        registration: The model version it became.
    """

    record: RunRecord
    rounds: tuple[RoundRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    best: EvaluationRecord | None
    crops: bytes | None
    registration: RegistrationRecord | None

    @property
    def finished(self) -> bool:
        """Whether all rounds have ended."""
        return len(self.rounds) == self.record.config.federation.rounds


def summarise_run(store: Store, record: RunRecord) -> RunSummary:
    """Gathers everything that a store holds of a run."""
    run = record.config.name
    rounds = []
    for round_number in range(1, record.config.federation.rounds + 1):
        try:
            rounds.append(read_record(store, layout.round_record(run, round_number), RoundRecord))
        except NotFoundError:
            break
    found = evaluations(store, record.config)
    best = best_of(found)
    crops = None
    if best and store.exists(layout.crops(run, best.round)):
        crops = store.read(layout.crops(run, best.round))
    try:
        registration = read_record(store, layout.registration(run), RegistrationRecord)
    except NotFoundError:
        registration = None
    return RunSummary(record, tuple(rounds), tuple(found), best, crops, registration)
