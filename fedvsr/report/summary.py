"""A run's records, gathered from its store."""

from dataclasses import dataclass

from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations
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
        record: The run's record.
        rounds: The rounds that have ended, in order.
        evaluations: The evaluations, in order.
        best: The evaluation with the highest PSNR (Y), if a trained round has one.
        crops: The best evaluation's crops as PNG, if there are any.
        registration: The model version that it became, if it was registered.
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
    evaluations = list_evaluations(store, record.config)
    best = find_best_evaluation(evaluations)
    crops = None
    if best and store.exists(layout.crops(run, best.round)):
        crops = store.read(layout.crops(run, best.round))
    try:
        registration = read_record(store, layout.registration(run), RegistrationRecord)
    except NotFoundError:
        registration = None
    return RunSummary(record, tuple(rounds), tuple(evaluations), best, crops, registration)
