"""A run's evaluations; reading them needs no PyTorch."""

from collections.abc import Iterable

from fedvsr.config.run import RunConfig
from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.privacy_budget import planned_rounds
from fedvsr.federation.records import EvaluationRecord, read_record
from fedvsr.store.base import Store


def model_key(evaluation: EvaluationRecord) -> str:
    """Returns the key of the weights of a round's model: the averaged ones if they are better."""
    key_of = layout.averaged_weights if evaluation.is_averaged else layout.global_weights
    return key_of(evaluation.run, evaluation.round)


def is_evaluated(config: RunConfig, round_number: int) -> bool:
    """Returns whether the configuration evaluates a round: every N-th round and the last."""
    return round_number % config.evaluation.every == 0 or round_number == planned_rounds(config)


def find_evaluation(store: Store, run: str, round_number: int) -> EvaluationRecord | None:
    """Returns a round's evaluation, or None if there is none."""
    try:
        return read_record(store, layout.evaluation(run, round_number), EvaluationRecord)
    except NotFoundError:
        return None


def list_evaluations(store: Store, config: RunConfig) -> list[EvaluationRecord]:
    """Returns a run's evaluations so far, in the order of the rounds."""
    rounds = range(config.federation.rounds + 1)
    evaluations = (find_evaluation(store, config.name, round_number) for round_number in rounds)
    return [evaluation for evaluation in evaluations if evaluation]


def find_best_evaluation(evaluations: Iterable[EvaluationRecord]) -> EvaluationRecord | None:
    """Returns the evaluation of the trained round with the best model by PSNR (Y), or None if there is none.

    If the held-out clips changed during the run, only the evaluations on the newest clips are compared: those
    of the last evaluated round. If several are equal, returns the earliest.

    Args:
        evaluations: The evaluations of a run, in the order of the rounds.
    """
    trained = [evaluation for evaluation in evaluations if evaluation.round > layout.INITIAL_ROUND]
    comparable = [
        evaluation for evaluation in trained if evaluation.dataset_digest == trained[-1].dataset_digest
    ]
    return max(comparable, key=lambda evaluation: evaluation.mean("psnr_y"), default=None)
