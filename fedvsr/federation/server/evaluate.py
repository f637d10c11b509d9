"""Evaluation of a round's weights on the held-out clips."""

import io
import time
from collections.abc import Sequence

import torch
from torch import nn

from fedvsr.config.run import RunConfig
from fedvsr.device import repeatable, select_device
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_evaluation, list_evaluations
from fedvsr.federation.owner.clips import dataset_digest, open_held_out_clips
from fedvsr.federation.records import EvaluationRecord, RunRecord, write_record
from fedvsr.federation.runs import digests_after_round
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
    """Scores a round's global weights, and bicubic interpolation, on the held-out clips.

    Stores the evaluation's record, and a picture with a detail of each clip. If these weights have already
    been evaluated on these clips, returns the stored record.

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
    weights_digest = digests_after_round(store, run_record, round_number).weights
    clips_digest = dataset_digest(store, layout.held_out_clips(config.data.dataset), config.data)
    evaluation = find_evaluation(store, run, round_number)
    if evaluation and (evaluation.global_digest, evaluation.dataset_digest) == (weights_digest, clips_digest):
        return evaluation
    other_clips_in_round = _find_other_clips(store, run, round_number, clips_digest)
    if other_clips_in_round is not None:
        (progress or Progress()).message(
            f"the held-out clips changed since the evaluation of round {other_clips_in_round}: the scores of "
            f"round {round_number} cannot be compared with it; "
            f"`fedvsr evaluate {run} --round {other_clips_in_round}` scores it again"
        )
    start = time.perf_counter()
    scores, bicubic, details = _score(store, config, round_number, weights_digest, clips_digest, progress)
    _write_picture(store, config, round_number, details)
    evaluation = EvaluationRecord(
        run=run,
        round=round_number,
        model=config.model.name,
        global_digest=weights_digest,
        dataset_digest=clips_digest,
        crop_border=config.evaluation.crop_border,
        scores=scores,
        bicubic=bicubic,
        seconds=time.perf_counter() - start,
        other_clips_in_round=other_clips_in_round,
    )
    write_record(store, layout.evaluation(run, round_number), evaluation)
    return evaluation


def _score(
    store: Store,
    config: RunConfig,
    round_number: int,
    weights_digest: str,
    clips_digest: str,
    progress: Progress | None,
) -> tuple[tuple[ClipScores, ...], tuple[ClipScores, ...], list[Detail]]:
    """Returns the scores of the weights, those of bicubic interpolation, and the details to draw."""
    crop_border = config.evaluation.crop_border
    clips = open_held_out_clips(store, config)
    device = select_device(config.training.device)
    with repeatable(config.seed, config.training.threads):
        model = _load_model(store, config, round_number, weights_digest, device)
        lpips = open_lpips(device) if config.evaluation.lpips else None
        known_bicubic = _find_bicubic_scores(store, config, clips_digest)
        scores, details = score_model(model, clips, device, crop_border, lpips, progress)
        bicubic = known_bicubic or score_bicubic(clips, crop_border, lpips)
    return scores, bicubic, details


def _load_model(
    store: Store, config: RunConfig, round_number: int, weights_digest: str, device: torch.device
) -> nn.Module:
    model = build_model(config.model.name, config.data.scale, config.model.options)
    weights = load_weights(store, layout.global_weights(config.name, round_number), weights_digest)
    load_state(model, weights, f"global weights of round {round_number}")
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
