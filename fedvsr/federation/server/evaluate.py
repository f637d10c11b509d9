"""Judging weights on the held-out clips."""

import io
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from fedvsr.config.run import EvaluationConfig, RunConfig
from fedvsr.device import repeatable, select_device
from fedvsr.federation import layout
from fedvsr.federation.crops import Crop, cut_crop, draw_crops
from fedvsr.federation.evaluations import evaluations, find_evaluation
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.records import ClipScores, EvaluationRecord, RunRecord, write_record
from fedvsr.federation.runs import digests_after
from fedvsr.federation.stored_weights import open_weights
from fedvsr.inference.windows import upscale_clip
from fedvsr.metrics.psnr import PSNR_LIMIT, mean_psnr, psnr
from fedvsr.metrics.ssim import ssim
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.video.frames import Frames
from fedvsr.video.patches import ClipPair
from fedvsr.video.resize import upscale

LPIPS_WEIGHTS_VARIABLE = "FEDVSR_LPIPS_WEIGHTS"

Lpips = Callable[[Frames, Frames], Iterable[float]]


def evaluate_round(
    store: Store, record: RunRecord, round_number: int, progress: Progress | None = None
) -> EvaluationRecord:
    """Judges a round's global weights on the held-out clips, beside bicubic interpolation.

    Where that was done already for these weights and clips, the record is returned.

    Args:
        store: The federation's store, which holds the held-out clips.
        record: The run's record.
        round_number: A round that has ended, or 0 for the initial weights.
        progress: Shows the clips.

    Raises:
        fedvsr.errors.NotFoundError: The round has not ended, or there are no held-out clips.
    """
    config, run = record.config, record.config.name
    digest, _ = digests_after(store, record, round_number)
    dataset = dataset_digest(store, layout.evaluation_clips(config.data.dataset), config.data)
    found = find_evaluation(store, run, round_number)
    if found and (found.global_digest, found.dataset_digest) == (digest, dataset):
        return found
    start = time.perf_counter()
    clips = open_clips(store, layout.evaluation_clips(config.data.dataset), config.data)
    device = select_device(config.training.device)
    with repeatable(config.seed, config.training.threads):
        model = build_model(config.model.name, config.data.scale, config.model.options)
        weights = open_weights(store, layout.global_weights(run, round_number), digest)
        load_state(model, weights.load(), f"global weights of round {round_number}")
        model.to(device)
        lpips = _lpips(config.evaluation, device)
        earlier = _earlier_bicubic(store, config, dataset)
        scores, crops = score_clips(model, clips, device, config.evaluation.crop_border, lpips, progress)
        bicubic = earlier or score_bicubic(clips, config.evaluation.crop_border, lpips)
    picture = io.BytesIO()
    draw_crops(crops, config.model.name, picture)
    store.write(layout.crops(run, round_number), picture.getvalue())
    evaluation = EvaluationRecord(
        run=run,
        round=round_number,
        model=config.model.name,
        global_digest=digest,
        dataset_digest=dataset,
        crop_border=config.evaluation.crop_border,
        scores=scores,
        bicubic=bicubic,
        seconds=time.perf_counter() - start,
    )
    write_record(store, layout.evaluation(run, round_number), evaluation)
    return evaluation


def score_clips(
    model: nn.Module,
    clips: Sequence[ClipPair],
    device: torch.device,
    crop_border: int,
    lpips: Lpips | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[ClipScores, ...], list[Crop]]:
    """Upscales clips with a model, as a whole each, and scores them; returns a crop of each too."""
    scores, crops = [], []
    with (progress or Progress()).stage("evaluate", len(clips)) as advance:
        for done, clip in enumerate(clips, start=1):
            low, truth = np.asarray(clip.degraded[:]), np.asarray(clip.ground_truth[:])
            output = upscale_clip(model, low, device)
            found = score_frames(clip.name, output, truth, crop_border, lpips)
            scores.append(found)
            crops.append(cut_crop(clip.name, low, output, truth, clip.scale))
            advance(done, f"{clip.name} {found.psnr_y:.2f} dB")
    return tuple(scores), crops


def score_bicubic(
    clips: Sequence[ClipPair], crop_border: int, lpips: Lpips | None = None
) -> tuple[ClipScores, ...]:
    """Scores bicubic interpolation on clips: the floor that a model must beat."""
    return tuple(
        score_frames(
            clip.name,
            upscale(np.asarray(clip.degraded[:]), clip.scale),
            np.asarray(clip.ground_truth[:]),
            crop_border,
            lpips,
        )
        for clip in clips
    )


def score_frames(
    name: str, output: Frames, truth: Frames, crop_border: int, lpips: Lpips | None = None
) -> ClipScores:
    """Scores a clip's frames, (T, H, W, 3) uint8 each, as means over the frames."""

    def psnr_of(channel: Literal["rgb", "y"]) -> float:
        return mean_psnr(
            np.minimum(psnr(output, truth, crop_border=crop_border, channel=channel), PSNR_LIMIT)
        )

    def ssim_of(channel: Literal["rgb", "y"]) -> float:
        values = ssim(output, truth, crop_border=crop_border, channel=channel)
        return math.fsum(values) / len(values)

    distances = list(lpips(output, truth)) if lpips else []
    return ClipScores(
        clip=name,
        frames=len(output),
        psnr_rgb=psnr_of("rgb"),
        psnr_y=psnr_of("y"),
        ssim_rgb=ssim_of("rgb"),
        ssim_y=ssim_of("y"),
        lpips=math.fsum(distances) / len(distances) if distances else None,
    )


def _lpips(evaluation: EvaluationConfig, device: torch.device) -> Lpips | None:
    if not evaluation.lpips:
        return None
    # Imported here because it is an extra.
    from fedvsr.metrics.lpips import LPIPS

    backbone = os.environ.get(LPIPS_WEIGHTS_VARIABLE)
    return partial(LPIPS(Path(backbone) if backbone else None, device), crop_border=evaluation.crop_border)


def _earlier_bicubic(store: Store, config: RunConfig, dataset: str) -> tuple[ClipScores, ...] | None:
    """Bicubic's scores do not change from round to round."""
    for each in evaluations(store, config):
        if each.dataset_digest == dataset and each.crop_border == config.evaluation.crop_border:
            return each.bicubic
    return None
