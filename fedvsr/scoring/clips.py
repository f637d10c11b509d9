"""Scoring a model, or bicubic interpolation, on clips in memory: the held-out clips of a run."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from fedvsr.inference.windows import upscale_clip
from fedvsr.metrics.psnr import mean_psnr
from fedvsr.progress import Progress
from fedvsr.scoring.clip_scores import ClipScores
from fedvsr.scoring.crops import Crop, cut_crop
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
) -> tuple[tuple[ClipScores, ...], list[Crop]]:
    """Upscales each clip as a whole with a model and scores it.

    Args:
        model: The model, on the device.
        clips: The clips.
        device: Where to compute.
        crop_border: Pixels that the scores leave out at each of the four sides.
        lpips: Measures LPIPS too.
        progress: Shows the clips.

    Returns:
        The scores and a crop of each clip, in the clips' order.
    """
    scores, crops = [], []
    with (progress or Progress()).stage("evaluate", len(clips)) as advance:
        for done, clip in enumerate(clips, start=1):
            low, truth = np.asarray(clip.low_resolution[:]), np.asarray(clip.ground_truth[:])
            output = upscale_clip(model, low, device)
            clip_scores = score_frames(clip.name, output, truth, crop_border, lpips)
            scores.append(clip_scores)
            crops.append(cut_crop(clip.name, low, output, truth, clip.scale))
            advance(done, f"{clip.name} {clip_scores.psnr_y:.2f} dB")
    return tuple(scores), crops


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
    name: str, output: Frames, truth: Frames, crop_border: int, lpips: Lpips | None = None
) -> ClipScores:
    """Scores a clip's frames, (T, H, W, 3) uint8 RGB each, as means over the frames.

    Raises:
        fedvsr.errors.InputError: The frames cannot be compared.
    """
    scorer = Scorer(("rgb", "y"), crop_border, lpips)
    scorer.add(output, truth)
    return ClipScores(
        clip=name,
        frames=scorer.frames,
        # Not `exact_mean`: its last bits would differ from those of existing records.
        psnr_rgb=mean_psnr(np.array(scorer.psnr["rgb"])),
        psnr_y=mean_psnr(np.array(scorer.psnr["y"])),
        ssim_rgb=exact_mean(scorer.ssim["rgb"]),
        ssim_y=exact_mean(scorer.ssim["y"]),
        lpips=mean_if_measured(scorer.lpips),
    )
