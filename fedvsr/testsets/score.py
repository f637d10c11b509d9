"""Scores an upscaler on a test set, frame by frame, so that memory does not grow with a clip's length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from fedvsr.errors import VideoError
from fedvsr.metrics.vmaf import Vmaf
from fedvsr.progress import Progress
from fedvsr.scoring.scorer import Lpips, Scorer, exact_mean, mean_if_measured
from fedvsr.testsets.base import ClipFolders, VideoTestSet
from fedvsr.video.decode import VideoReader
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames, crop_to_multiple

Upscaler = Callable[[Iterable[Frames]], Iterator[Frames]]
"""Takes a clip's frames (h, w, 3), uint8 RGB, and yields the same number of frames (s·h, s·w, 3)."""


@dataclass(frozen=True)
class BenchmarkScores:
    """A clip's scores as papers print them: means over the scored frames.

    Attributes:
        clip: The clip's name.
        frames: Number of scored frames.
        psnr: In dB, on the test set's channel; a frame without any error counts as
            `fedvsr.metrics.psnr.PSNR_LIMIT`.
        ssim: From −1 to 1, on the test set's channel.
        lpips: From 0 upwards, on RGB; None if it was not measured.
        vmaf: From 0 to 100; None if it was not measured.
    """

    clip: str
    frames: int
    psnr: float
    ssim: float
    lpips: float | None = None
    vmaf: float | None = None


def mean_over_clips(scores: Sequence[BenchmarkScores], title: str = "mean") -> BenchmarkScores:
    """Returns the mean over clips as papers print it: every clip counts the same, whatever its length.

    Args:
        scores: The scores of at least one clip.
        title: The name of the mean in the result.
    """
    return BenchmarkScores(
        clip=title,
        frames=sum(clip.frames for clip in scores),
        psnr=exact_mean([clip.psnr for clip in scores]),
        ssim=exact_mean([clip.ssim for clip in scores]),
        lpips=mean_if_measured([clip.lpips for clip in scores if clip.lpips is not None]),
        vmaf=mean_if_measured([clip.vmaf for clip in scores if clip.vmaf is not None]),
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
) -> list[BenchmarkScores]:
    """Upscales a test set's clips and scores them as papers do.

    Args:
        test_set: The test set, which defines the compared channel, the border and the scored frames.
        clips: The test set's clips, as `fedvsr.testsets.folders.locate_clips` returns them.
        upscaler: The model or method to score.
        degradation: Makes the low-resolution frames of clips that have no ready-made ones.
        scale: How many times larger the output is than the low-resolution frames.
        lpips: The LPIPS metric; None to leave it out.
        with_vmaf: Whether to measure VMAF.
        progress: Reports progress per clip and frame.

    Raises:
        fedvsr.errors.VideoError: A clip cannot be read, or the number or size of its low-resolution frames
            does not match the ground truth.
        fedvsr.errors.InputError: The frames are too small for a metric, or ffmpeg failed to measure VMAF.
    """
    progress = progress or Progress()
    scores = []
    with progress.stage(test_set.name, len(clips)) as advance:
        for done, clip in enumerate(clips, start=1):
            clip_scores = _score_clip(
                test_set, clip, upscaler, degradation, scale, lpips, with_vmaf, progress
            )
            scores.append(clip_scores)
            advance(done, f"{clip.name} {clip_scores.psnr:.2f}/{clip_scores.ssim:.4f}")
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
) -> BenchmarkScores:
    with ExitStack() as stack:
        ground_truth = stack.enter_context(VideoReader(clip.ground_truth))
        # The upscaler reads ahead of its output, so its input needs a separate reader.
        input_frames = stack.enter_context(VideoReader(clip.low_resolution or clip.ground_truth))
        _check_pair(clip, ground_truth, input_frames, scale)
        low_resolution = input_frames if clip.low_resolution else _degrade(input_frames, degradation, scale)
        frame_count = ground_truth.frame_count or 0
        advance = stack.enter_context(progress.stage(clip.name, frame_count))
        vmaf = stack.enter_context(_make_vmaf(test_set, ground_truth, scale)) if with_vmaf else None
        scorer = Scorer([test_set.channel], test_set.crop_border, lpips, vmaf)
        for index, (output, true_frame) in enumerate(
            zip(upscaler(low_resolution), ground_truth, strict=True)
        ):
            if test_set.counts(index, frame_count):
                scorer.add(output[None], crop_to_multiple(true_frame, scale)[None])
            advance(index + 1, "")
        return BenchmarkScores(
            clip=clip.name,
            frames=scorer.frames,
            psnr=exact_mean(scorer.psnr[test_set.channel]),
            ssim=exact_mean(scorer.ssim[test_set.channel]),
            lpips=mean_if_measured(scorer.lpips),
            vmaf=exact_mean(vmaf.finish().tolist()) if vmaf else None,
        )


def _make_vmaf(test_set: VideoTestSet, ground_truth: VideoReader[Frames], scale: int) -> Vmaf:
    """Returns a VMAF measurement of frames cropped to a multiple of the scale, without the border."""
    height, width = (
        side - side % scale - 2 * test_set.crop_border for side in (ground_truth.height, ground_truth.width)
    )
    return Vmaf(height, width)


def _degrade(frames: Iterable[Frames], degradation: Degradation, scale: int) -> Iterator[Frames]:
    return (degradation(crop_to_multiple(frame, scale)[None], scale)[0] for frame in frames)


def _check_pair(
    clip: ClipFolders, ground_truth: VideoReader[Frames], low_resolution: VideoReader[Frames], scale: int
) -> None:
    """Checks the number and size of ready-made low-resolution frames against the ground truth."""
    if clip.low_resolution is None:
        return
    if low_resolution.frame_count != ground_truth.frame_count:
        raise VideoError(
            f"{clip.low_resolution}: has {low_resolution.frame_count} frames, but {clip.ground_truth} has "
            f"{ground_truth.frame_count}; copy the incomplete one again"
        )
    expected = ground_truth.height // scale, ground_truth.width // scale
    if (low_resolution.height, low_resolution.width) != expected:
        raise VideoError(
            f"{clip.low_resolution}: is {low_resolution.width}×{low_resolution.height} pixels, but "
            f"{clip.ground_truth} of {ground_truth.width}×{ground_truth.height} makes "
            f"{expected[1]}×{expected[0]} at scale {scale}; they were made from something else"
        )
