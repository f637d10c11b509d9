"""A clip's scores in an evaluation, and their mean over frames. Needs no PyTorch."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class ClipScores(BaseModel):
    """Means over a clip's frames: PSNR in dB, SSIM in -1..1, LPIPS (lower is better)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip: str
    frames: int
    psnr_rgb: float
    psnr_y: float
    ssim_rgb: float
    ssim_y: float
    lpips: float | None = None


def mean_over_frames(scores: Sequence[ClipScores], metric: str) -> float:
    """Returns the mean of a metric over the frames of all clips: a long clip counts more than a short one."""
    total = sum(score.frames for score in scores)
    return float(sum(getattr(score, metric) * score.frames for score in scores) / total)
