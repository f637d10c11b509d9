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
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.records import EvaluationRecord, RunRecord, write_record
from fedvsr.federation.runs import digests_after
from fedvsr.federation.stored_weights import load_weights
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state
from fedvsr.progress import Progress
from fedvsr.scoring.clip_scores import ClipScores
from fedvsr.scoring.clips import score_bicubic, score_model
from fedvsr.scoring.crops import Crop, draw_crops
from fedvsr.scoring.lpips import open_lpips
from fedvsr.store.base import Store


def evaluate_round(
    store: Store, record: RunRecord, round_number: int, progress: Progress | None = None
) -> EvaluationRecord:
    """Scores a round's global weights, and bicubic interpolation, on the held-out clips.

    If these weights were already evaluated on these clips, that record is returned.

    Args:
        store: The federation's store, which holds the held-out clips.
        record: The run's record.
        round_number: A round that has ended, or 0 for the initial weights.
        progress: Shows the clips.

    Raises:
        fedvsr.errors.NotFoundError: The round has not ended, or there are no held-out clips.
    """
    config, run = record.config, record.config.name
    weights_digest, _ = digests_after(store, record, round_number)
    clips_digest = dataset_digest(store, layout.evaluation_clips(config.data.dataset), config.data)
    evaluation = find_evaluation(store, run, round_number)
    if evaluation and (evaluation.global_digest, evaluation.dataset_digest) == (weights_digest, clips_digest):
        return evaluation
    start = time.perf_counter()
    scores, bicubic, crops = _score(store, config, round_number, weights_digest, clips_digest, progress)
    _write_picture(store, config, round_number, crops)
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
) -> tuple[tuple[ClipScores, ...], tuple[ClipScores, ...], list[Crop]]:
    """Returns the scores of the weights, those of bicubic interpolation, and crops."""
    border = config.evaluation.crop_border
    clips = open_clips(store, layout.evaluation_clips(config.data.dataset), config.data)
    device = select_device(config.training.device)
    with repeatable(config.seed, config.training.threads):
        model = _load_model(store, config, round_number, weights_digest, device)
        lpips = open_lpips(device) if config.evaluation.lpips else None
        known_bicubic = _find_bicubic_scores(store, config, clips_digest)
        scores, crops = score_model(model, clips, device, border, lpips, progress)
        bicubic = known_bicubic or score_bicubic(clips, border, lpips)
    return scores, bicubic, crops


def _load_model(
    store: Store, config: RunConfig, round_number: int, weights_digest: str, device: torch.device
) -> nn.Module:
    model = build_model(config.model.name, config.data.scale, config.model.options)
    weights = load_weights(store, layout.global_weights(config.name, round_number), weights_digest)
    load_state(model, weights, f"global weights of round {round_number}")
    return model.to(device)


def _find_bicubic_scores(store: Store, config: RunConfig, clips_digest: str) -> tuple[ClipScores, ...] | None:
    """Returns bicubic interpolation's scores from another round, whose evaluation has the same ones."""
    for evaluation in list_evaluations(store, config):
        same_border = evaluation.crop_border == config.evaluation.crop_border
        if same_border and evaluation.dataset_digest == clips_digest:
            return evaluation.bicubic
    return None


def _write_picture(store: Store, config: RunConfig, round_number: int, crops: Sequence[Crop]) -> None:
    picture = io.BytesIO()
    draw_crops(crops, config.model.name, picture)
    store.write(layout.crops(config.name, round_number), picture.getvalue())
