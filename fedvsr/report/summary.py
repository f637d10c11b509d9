"""Collects a run's records from its store."""

from dataclasses import dataclass
from itertools import pairwise

from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations
from fedvsr.federation.privacy_budget import describe_budget, planned_rounds
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
    """The records of a run so far.

    Attributes:
        record: The run's record.
        rounds: The rounds that have ended, in order.
        evaluations: The evaluations, in order.
        best: The evaluation of the trained round whose model has the highest PSNR (Y); None if there is none.
        details_picture: The best evaluation's picture of details as PNG; None if there is none.
        registration: The model version that the run became; None if it was not registered.
    """

    record: RunRecord
    rounds: tuple[RoundRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    best: EvaluationRecord | None
    details_picture: bytes | None
    registration: RegistrationRecord | None

    @property
    def has_ended(self) -> bool:
        """Whether all rounds have ended."""
        return len(self.rounds) == planned_rounds(self.record.config)

    @property
    def protection(self) -> tuple[str, ...]:
        """How the clients' updates are protected, as sentences; empty if they are not."""
        config, sentences = self.record.config, []
        if config.privacy.secure_aggregation:
            sentences.append("The server has learned only the sum of the updates of each round.")
        if self.rounds and (spent := self.rounds[-1].privacy):
            sentences.append(
                f"The rounds have spent ε {spent.epsilon:.3g} at δ {spent.delta:g}. Losses, numbers of clips "
                "and times in the clients' reports are not covered by it."
            )
            if ending := describe_budget(config):
                sentences.append(f"The run ends early: {ending}.")
        return tuple(sentences)

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes of clients' clips and of the held-out clips between rounds, as sentences."""
        sentences = [
            f"Round {record.round}: {change}." for record in self.rounds for change in record.data_changes
        ]
        for before, after in pairwise(self.evaluations):
            if before.dataset_digest != after.dataset_digest:
                sentences.append(
                    f"The held-out clips changed between the evaluations of rounds {before.round} and "
                    f"{after.round}: their scores cannot be compared."
                )
        return tuple(sentences)

    @property
    def limits(self) -> tuple[str, ...]:
        """What limited clients' influence in the rounds, as sentences."""
        return tuple(f"Round {record.round}: {limit}." for record in self.rounds for limit in record.limits)


def summarise_run(store: Store, record: RunRecord) -> RunSummary:
    """Collects a run's records from the federation's store."""
    run = record.config.name
    rounds = []
    for round_number in range(1, record.config.federation.rounds + 1):
        try:
            rounds.append(read_record(store, layout.round_record(run, round_number), RoundRecord))
        except NotFoundError:
            break
    evaluations = list_evaluations(store, record.config)
    best = find_best_evaluation(evaluations)
    details_picture = None
    if best and store.exists(layout.details_picture(run, best.round)):
        details_picture = store.read(layout.details_picture(run, best.round))
    try:
        registration = read_record(store, layout.registration(run), RegistrationRecord)
    except NotFoundError:
        registration = None
    return RunSummary(record, tuple(rounds), tuple(evaluations), best, details_picture, registration)
