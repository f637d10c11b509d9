"""Scores frames and averages the scores: PSNR, SSIM and, if requested, LPIPS and VMAF."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from fedvsr.metrics.frames import Channel, crop
from fedvsr.metrics.psnr import PSNR_LIMIT, psnr
from fedvsr.metrics.ssim import ssim
from fedvsr.metrics.vmaf import Vmaf
from fedvsr.video.frames import Frames

Lpips = Callable[[Frames, Frames, int], Iterable[float]]
"""Takes two clips (T, H, W, 3), uint8 RGB, and the border to leave out in pixels; yields T distances."""


class Scorer:
    """Scores a clip's upscaled frames against the ground truth as they arrive. Keeps scores, but no frames.

    Args:
        channels: The channels that PSNR and SSIM compare.
        crop_border: Pixels to leave out at each of the four sides.
        lpips: The LPIPS metric, measured on RGB; None to leave it out.
        vmaf: A VMAF measurement of frames without the border; None to leave it out. The caller enters it, and
            calls its `finish`.

    Attributes:
        frames: Number of frames so far.
        psnr: Every frame's PSNR by channel, in dB, at most `fedvsr.metrics.psnr.PSNR_LIMIT`.
        ssim: Every frame's SSIM by channel, from −1 to 1.
        lpips: Every frame's LPIPS, from 0 upwards; empty if it is not measured.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        crop_border: int = 0,
        lpips: Lpips | None = None,
        vmaf: Vmaf | None = None,
    ) -> None:
        self.frames = 0
        self.psnr: dict[Channel, list[float]] = {channel: [] for channel in channels}
        self.ssim: dict[Channel, list[float]] = {channel: [] for channel in channels}
        self.lpips: list[float] = []
        self._crop_border = crop_border
        self._measure_lpips = lpips
        self._vmaf = vmaf

    def add(self, output: Frames, ground_truth: Frames) -> None:
        """Scores the next frames of both videos, one or more at a time.

        Args:
            output: The upscaled frames, (T, H, W, 3) uint8 RGB.
            ground_truth: The ground truth, of the same shape.

        Raises:
            fedvsr.errors.InputError: The frames cannot be compared.
        """
        for channel in self.psnr:
            ratios = psnr(output, ground_truth, self._crop_border, channel)
            self.psnr[channel].extend(np.minimum(ratios, PSNR_LIMIT).tolist())
            self.ssim[channel].extend(ssim(output, ground_truth, self._crop_border, channel).tolist())
        if self._measure_lpips:
            self.lpips.extend(self._measure_lpips(output, ground_truth, self._crop_border))
        if self._vmaf:
            for output_frame, true_frame in zip(output, ground_truth, strict=True):
                self._vmaf.add(crop(output_frame, self._crop_border), crop(true_frame, self._crop_border))
        self.frames += len(output)


def exact_mean(values: Sequence[float]) -> float:
    """Returns the mean of at least one number. Their order does not change the result."""
    return math.fsum(values) / len(values)


def mean_if_measured(values: Sequence[float]) -> float | None:
    """Returns the mean as `exact_mean` does, or None if there are no numbers."""
    return exact_mean(values) if values else None
