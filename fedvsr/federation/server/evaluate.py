"""Evaluation of a round's weights on the held-out clips."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from fedvsr.config.run import RunConfig
from fedvsr.device import repeatable, select_device
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation, list_evaluations, model_key
from fedvsr.federation.owner.clips import dataset_digest, open_clips, open_held_out_clips
from fedvsr.federation.records import AveragedScores, EvaluationRecord, RunRecord, read_record, write_record
from fedvsr.federation.runs import RoundDigests, digests_after_round
from fedvsr.federation.stored_weights import load_weights
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state
from fedvsr.progress import Progress
from fedvsr.scoring.clip_scores import ClipScores
from fedvsr.scoring.clips import score_bicubic, score_model
from fedvsr.scoring.details import Detail, draw_details
from fedvsr.scoring.lpips import open_lpips
from fedvsr.store.base import Store


def evaluate_round(
    store: Store, run_record: RunRecord, round_number: int, progress: Progress | None = None
) -> EvaluationRecord:
    """Scores a round's global weights, its averaged weights if there are any, and bicubic interpolation.

    Stores the evaluation's record, and a picture with a detail of each held-out clip, upscaled with the
    better weights. If these weights have already been evaluated on these clips, returns the stored record.

    Args:
        store: The federation's store, which holds the held-out clips.
        run_record: The run's record.
        round_number: A round that has ended, or 0 for the initial weights.
        progress: Reports progress per clip.

    Returns:
        The evaluation's record.

    Raises:
        fedvsr.errors.NotFoundError: The round has not ended, or there are no held-out clips.
    """
    config, run = run_record.config, run_record.config.name
    digests = digests_after_round(store, run_record, round_number)
    clips_digest = dataset_digest(store, layout.held_out_clips(config.data.dataset), config.data)
    evaluation = find_evaluation(store, run, round_number)
    if evaluation and _is_of(evaluation, digests, clips_digest):
        return evaluation
    other_clips_in_round = _find_other_clips(store, run, round_number, clips_digest)
    if other_clips_in_round is not None:
        (progress or Progress()).message(
            f"the held-out clips changed since the evaluation of round {other_clips_in_round}: the scores of "
            f"round {round_number} cannot be compared with it; "
            f"`fedvsr evaluate {run} --round {other_clips_in_round}` scores it again"
        )
    start = time.perf_counter()
    scored = _score(store, config, round_number, digests, clips_digest, progress)
    evaluation = EvaluationRecord(
        run=run,
        round=round_number,
        model=config.model.name,
        global_digest=digests.weights,
        dataset_digest=clips_digest,
        crop_border=config.evaluation.crop_border,
        scores=scored.scores,
        bicubic=scored.bicubic,
        seconds=time.perf_counter() - start,
        other_clips_in_round=other_clips_in_round,
        averaged=(
            AveragedScores(digest=digests.averaged, scores=scored.averaged_scores)
            if digests.averaged
            else None
        ),
    )
    details = scored.averaged_details if evaluation.is_averaged else scored.details
    _write_picture(store, config, round_number, details)
    write_record(store, layout.evaluation(run, round_number), evaluation)
    return evaluation


def evaluate_on_other_clips(
    store: Store, run_record: RunRecord, round_number: int, dataset: str
) -> EvaluationRecord:
    """Scores the model of a round that has been evaluated, and bicubic interpolation, on other clips.

    Args:
        store: The federation's store, which holds the clips.
        run_record: The run's record.
        round_number: The round.
        dataset: The name of the clips' shards.

    Returns:
        The scores on these clips. They are not stored.

    Raises:
        fedvsr.errors.NotFoundError: The round has not been evaluated, or there are no such clips.
    """
    config = run_record.config
    evaluation = read_record(store, layout.evaluation(config.name, round_number), EvaluationRecord)
    data = config.data.model_copy(update={"dataset": dataset})
    folder, crop_border = layout.held_out_clips(dataset), config.evaluation.crop_border
    clips = open_clips(store, folder, data)
    device = select_device(config.training.device)
    with repeatable(config.seed, config.training.threads):
        model = _load_model(store, config, model_key(evaluation), evaluation.model_digest, device)
        scores, _ = score_model(model, clips, device, crop_border)
        bicubic = score_bicubic(clips, crop_border)
    return evaluation.model_copy(
        update={
            "dataset_digest": dataset_digest(store, folder, data),
            "scores": scores,
            "bicubic": bicubic,
            "averaged": None,
        }
    )


@dataclass(frozen=True)
class _Scored:
    """Scores, and details to draw, of the global weights and, if there are any, of the averaged weights."""

    scores: tuple[ClipScores, ...]
    details: list[Detail]
    bicubic: tuple[ClipScores, ...]
    averaged_scores: tuple[ClipScores, ...] = ()
    averaged_details: list[Detail] = field(default_factory=list)


def _is_of(evaluation: EvaluationRecord, digests: RoundDigests, clips_digest: str) -> bool:
    """Returns whether an evaluation is of these weights and these clips."""
    averaged = evaluation.averaged.digest if evaluation.averaged else None
    return (evaluation.global_digest, averaged, evaluation.dataset_digest) == (
        digests.weights,
        digests.averaged,
        clips_digest,
    )


def _score(
    store: Store,
    config: RunConfig,
    round_number: int,
    digests: RoundDigests,
    clips_digest: str,
    progress: Progress | None,
) -> _Scored:
    crop_border = config.evaluation.crop_border
    clips = open_held_out_clips(store, config)
    device = select_device(config.training.device)
    with repeatable(config.seed, config.training.threads):
        lpips = open_lpips(device) if config.evaluation.lpips else None

        def score(key: str, digest: str) -> tuple[tuple[ClipScores, ...], list[Detail]]:
            model = _load_model(store, config, key, digest, device)
            return score_model(model, clips, device, crop_border, lpips, progress)

        scores, details = score(layout.global_weights(config.name, round_number), digests.weights)
        averaged_scores, averaged_details = (
            score(layout.averaged_weights(config.name, round_number), digests.averaged)
            if digests.averaged
            else ((), [])
        )
        known_bicubic = _find_bicubic_scores(store, config, clips_digest)
        bicubic = known_bicubic or score_bicubic(clips, crop_border, lpips)
    return _Scored(scores, details, bicubic, averaged_scores, averaged_details)


def _load_model(store: Store, config: RunConfig, key: str, digest: str, device: torch.device) -> nn.Module:
    model = build_model(config.model.name, config.data.scale, config.model.options)
    load_state(model, load_weights(store, key, digest), f"{store.uri}/{key}")
    return model.to(device)


def _find_bicubic_scores(store: Store, config: RunConfig, clips_digest: str) -> tuple[ClipScores, ...] | None:
    """Returns the scores of bicubic interpolation from an evaluation of the same clips, or None.

    They do not depend on the round, so any evaluation with the same border will do.
    """
    for evaluation in list_evaluations(store, config):
        same_border = evaluation.crop_border == config.evaluation.crop_border
        if same_border and evaluation.dataset_digest == clips_digest:
            return evaluation.bicubic
    return None


def _write_picture(store: Store, config: RunConfig, round_number: int, details: Sequence[Detail]) -> None:
    picture = io.BytesIO()
    draw_details(details, config.model.name, picture)
    store.write(layout.details_picture(config.name, round_number), picture.getvalue())


def _find_other_clips(store: Store, run: str, round_number: int, clips_digest: str) -> int | None:
    """Returns the round evaluated last before a round, if that was on other held-out clips, else None."""
    for earlier in range(round_number - 1, -1, -1):
        evaluation = find_evaluation(store, run, earlier)
        if evaluation is not None:
            return earlier if evaluation.dataset_digest != clips_digest else None
    return None
