"""What is known of a run's evaluations; reading them needs no PyTorch."""

from collections.abc import Iterable

from fedvsr.config.run import RunConfig
from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import EvaluationRecord, read_record
from fedvsr.store.base import Store


def is_evaluated(config: RunConfig, round_number: int) -> bool:
    """Says whether a round's weights are to be judged: every N-th round and the last."""
    return round_number % config.evaluation.every == 0 or round_number == config.federation.rounds


def find_evaluation(store: Store, run: str, round_number: int) -> EvaluationRecord | None:
    """Returns a round's evaluation, or None if there is none."""
    try:
        return read_record(store, layout.evaluation(run, round_number), EvaluationRecord)
    except NotFoundError:
        return None


def evaluations(store: Store, config: RunConfig) -> list[EvaluationRecord]:
    """Returns a run's evaluations so far, in the order of the rounds."""
    found = (find_evaluation(store, config.name, each) for each in range(config.federation.rounds + 1))
    return [each for each in found if each]


def best_of(found: Iterable[EvaluationRecord]) -> EvaluationRecord | None:
    """Returns the evaluation of a trained round with the highest PSNR (Y), the earliest of equals."""
    trained = [each for each in found if each.round > layout.INITIAL_ROUND]
    return max(trained, key=lambda each: each.mean("psnr_y"), default=None)
