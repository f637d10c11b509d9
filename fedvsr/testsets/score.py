"""Scoring an upscaler on a test set: frame by frame, in memory that does not grow with a clip."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from fedvsr.errors import VideoError
from fedvsr.metrics.frames import crop
from fedvsr.metrics.psnr import PSNR_LIMIT, psnr
from fedvsr.metrics.ssim import ssim
from fedvsr.metrics.vmaf import Vmaf
from fedvsr.progress import Progress
from fedvsr.testsets.base import ClipFolders, VideoTestSet
from fedvsr.video.decode import VideoReader
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames, crop_to_multiple

Upscaler = Callable[[Iterable[Frames]], Iterator[Frames]]
"""Takes a clip's frames (h, w, 3), uint8 RGB, and yields as many (s·h, s·w, 3)."""

Lpips = Callable[[Frames, Frames], Iterable[float]]
"""Takes two clips (T, H, W, 3), uint8 RGB, and returns a distance for each frame."""


@dataclass(frozen=True)
class ClipScore:
    """A clip's scores, means over the frames that count.

    Attributes:
        clip: Its name.
        frames: How many frames count.
        psnr: In dB, on the test set's channel; a frame without any error counts as `PSNR_LIMIT`.
        ssim: From −1 to 1, on the test set's channel.
        lpips: On RGB; None where it was not measured.
        vmaf: From 0 to 100; None where it was not measured.
    """

    clip: str
    frames: int
    psnr: float
    ssim: float
    lpips: float | None = None
    vmaf: float | None = None


def mean_score(scores: Sequence[ClipScore], title: str = "mean") -> ClipScore:
    """Returns the mean over clips, each counting the same however long it is, as papers print it."""

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known else None

    return ClipScore(
        clip=title,
        frames=sum(each.frames for each in scores),
        psnr=math.fsum(each.psnr for each in scores) / len(scores),
        ssim=math.fsum(each.ssim for each in scores) / len(scores),
        lpips=mean(each.lpips for each in scores),
        vmaf=mean(each.vmaf for each in scores),
    )


def score_test_set(
    test_set: VideoTestSet,
    clips: Sequence[ClipFolders],
    upscaler: Upscaler,
    degradation: Degradation,
    scale: int,
    lpips: Lpips | None = None,
    with_vmaf: bool = False,
    progress: Progress | None = None,
) -> list[ClipScore]:
    """Upscales a test set's clips and scores them as papers do.

    Args:
        test_set: Says what is compared.
        clips: Its clips, as `fedvsr.testsets.folders.locate_clips` finds them.
        upscaler: What is scored.
        degradation: Makes the low resolution of clips that have none.
        scale: How many times larger the output is than the low resolution.
        lpips: Measures LPIPS too.
        with_vmaf: Whether to measure VMAF too.
        progress: Shows the clips and their frames.

    Raises:
        fedvsr.errors.VideoError: A clip cannot be read, or its low resolution is of another length or size.
    """
    progress = progress or Progress()
    scores = []
    with progress.stage(test_set.name, len(clips)) as advance:
        for done, clip in enumerate(clips, start=1):
            found = _score_clip(test_set, clip, upscaler, degradation, scale, lpips, with_vmaf, progress)
            scores.append(found)
            advance(done, f"{clip.name} {found.psnr:.2f}/{found.ssim:.4f}")
    return scores


def _score_clip(
    test_set: VideoTestSet,
    clip: ClipFolders,
    upscaler: Upscaler,
    degradation: Degradation,
    scale: int,
    lpips: Lpips | None,
    with_vmaf: bool,
    progress: Progress,
) -> ClipScore:
    ratios: list[float] = []
    similarities: list[float] = []
    distances: list[float] = []
    with ExitStack() as stack:
        truth = stack.enter_context(VideoReader(clip.truth))
        # The low resolution runs ahead of the output by a window: it has a reader of its own.
        source = stack.enter_context(VideoReader(clip.low or clip.truth))
        _check_pair(clip, truth, source, scale)
        frames = truth.frame_count or 0
        advance = stack.enter_context(progress.stage(clip.name, frames))
        height, width = (
            side - side % scale - 2 * test_set.crop_border for side in (truth.height, truth.width)
        )
        vmaf = stack.enter_context(Vmaf(height, width)) if with_vmaf else None
        low = source if clip.low else _degrade(source, degradation, scale)
        for index, (output, expected) in enumerate(zip(upscaler(low), truth, strict=True)):
            if test_set.counts(index, frames):
                pair = (
                    crop(output, test_set.crop_border)[None],
                    crop(crop_to_multiple(expected, scale), test_set.crop_border)[None],
                )
                ratios += [min(value, PSNR_LIMIT) for value in psnr(*pair, channel=test_set.channel)]
                similarities += list(ssim(*pair, channel=test_set.channel))
                if lpips:
                    distances += list(lpips(*pair))
                if vmaf:
                    vmaf.add(pair[0][0], pair[1][0])
            advance(index + 1, "")
        scores = list(vmaf.scores()) if vmaf else []
    return ClipScore(
        clip=clip.name,
        frames=len(ratios),
        psnr=math.fsum(ratios) / len(ratios),
        ssim=math.fsum(similarities) / len(similarities),
        lpips=math.fsum(distances) / len(distances) if distances else None,
        vmaf=math.fsum(scores) / len(scores) if scores else None,
    )


def _degrade(frames: Iterable[Frames], degradation: Degradation, scale: int) -> Iterator[Frames]:
    return (degradation(crop_to_multiple(frame, scale)[None], scale)[0] for frame in frames)


def _check_pair(clip: ClipFolders, truth: VideoReader, low: VideoReader, scale: int) -> None:
    if clip.low is None:
        return
    if low.frame_count != truth.frame_count:
        raise VideoError(
            f"{clip.low}: has {low.frame_count} frames, but {clip.truth} has {truth.frame_count}; "
            "copy the incomplete one again"
        )
    expected = truth.height // scale, truth.width // scale
    if (low.height, low.width) != expected:
        raise VideoError(
            f"{clip.low}: is {low.width}×{low.height} pixels, but {clip.truth} of "
            f"{truth.width}×{truth.height} makes {expected[1]}×{expected[0]} at scale {scale}; it is the low "
            "resolution of something else"
        )
