"""Compares ready-made low-resolution frames with the degradation that their folder is named after."""

from fedvsr.metrics.psnr import psnr
from fedvsr.testsets.base import ClipFolders
from fedvsr.video.decode import read_frames
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import crop_to_multiple

_MIN_PSNR = 40.0
"""PSNR in dB. Above it, two low-resolution frames differ only in rounding and at the borders."""


def describe_mismatch(clip: ClipFolders, degradation: Degradation, scale: int) -> str:
    """Compares a clip's first low-resolution frame with what the degradation makes of the ground truth.

    Published copies of a test set differ in how their low-resolution frames were made. For example, a shift
    of 1.5 ground-truth pixels is invisible, but costs a network 10 dB of PSNR.

    Returns:
        A sentence about the difference. Empty if the frames agree, if their size is wrong, or if there are no
            ready-made frames.

    Raises:
        fedvsr.errors.VideoError: A frame cannot be read.
    """
    if clip.low_resolution is None:
        return ""
    frame = read_frames(clip.low_resolution, 0, 1)
    expected_frame = degradation(crop_to_multiple(read_frames(clip.ground_truth, 0, 1), scale), scale)
    if frame.shape != expected_frame.shape:
        return ""
    frame_psnr = psnr(frame, expected_frame).item()
    if frame_psnr >= _MIN_PSNR:
        return ""
    return (
        f"{clip.low_resolution} is not what {degradation.name!r} makes of {clip.ground_truth}: their first "
        f"frames have a PSNR of only {frame_psnr:.1f} dB, so the scores belong to another degradation than "
        "the table's title says"
    )
