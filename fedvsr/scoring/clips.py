"""Scores a model, or bicubic interpolation, on clips in memory: the held-out clips of a run."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from fedvsr.inference.windows import upscale_clip
from fedvsr.metrics.psnr import mean_psnr
from fedvsr.progress import Progress
from fedvsr.scoring.clip_scores import ClipScores
from fedvsr.scoring.details import Detail, cut_detail
from fedvsr.scoring.scorer import Lpips, Scorer, exact_mean, mean_if_measured
from fedvsr.video.frames import Frames
from fedvsr.video.patches import ClipPair
from fedvsr.video.resize import upscale


def score_model(
    model: nn.Module,
    clips: Sequence[ClipPair],
    device: torch.device,
    crop_border: int,
    lpips: Lpips | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[ClipScores, ...], list[Detail]]:
    """Upscales each clip as a whole with a model and scores it.

    Args:
        model: The model, on the device.
        clips: The clips.
        device: The device to compute on.
        crop_border: Pixels that the scores leave out at each of the four sides.
        lpips: The LPIPS metric; None to leave it out.
        progress: Reports progress per clip.

    Returns:
        The scores and a detail of each clip, in the clips' order.
    """
    scores, details = [], []
    with (progress or Progress()).stage("evaluate", len(clips)) as advance:
        for done, clip in enumerate(clips, start=1):
            low_resolution = np.asarray(clip.low_resolution[:])
            ground_truth = np.asarray(clip.ground_truth[:])
            output = upscale_clip(model, low_resolution, device, scale=clip.scale)
            clip_scores = score_frames(clip.name, output, ground_truth, crop_border, lpips)
            scores.append(clip_scores)
            details.append(cut_detail(clip.name, low_resolution, output, ground_truth, clip.scale))
            advance(done, f"{clip.name} {clip_scores.psnr_y:.2f} dB")
    return tuple(scores), details


def score_bicubic(
    clips: Sequence[ClipPair], crop_border: int, lpips: Lpips | None = None
) -> tuple[ClipScores, ...]:
    """Scores bicubic interpolation on clips: the baseline that a model must beat."""
    return tuple(
        score_frames(
            clip.name,
            upscale(np.asarray(clip.low_resolution[:]), clip.scale),
            np.asarray(clip.ground_truth[:]),
            crop_border,
            lpips,
        )
        for clip in clips
    )


def score_frames(
    name: str, output: Frames, ground_truth: Frames, crop_border: int, lpips: Lpips | None = None
) -> ClipScores:
    """Scores a clip's upscaled frames against the ground truth, as means over the frames.

    Args:
        name: The clip's name.
        output: The upscaled frames, (T, H, W, 3) uint8 RGB.
        ground_truth: The ground truth, of the same shape.
        crop_border: Pixels that the scores leave out at each of the four sides.
        lpips: The LPIPS metric; None to leave it out.

    Raises:
        fedvsr.errors.InputError: The frames cannot be compared.
    """
    scorer = Scorer(("rgb", "y"), crop_border, lpips)
    scorer.add(output, ground_truth)
    return ClipScores(
        clip=name,
        frames=scorer.frames,
        # Not `exact_mean`, because its last bits would differ from those of existing records.
        psnr_rgb=mean_psnr(np.array(scorer.psnr["rgb"])),
        psnr_y=mean_psnr(np.array(scorer.psnr["y"])),
        ssim_rgb=exact_mean(scorer.ssim["rgb"]),
        ssim_y=exact_mean(scorer.ssim["y"]),
        lpips=mean_if_measured(scorer.lpips),
    )
