"""Comparison of ready-made low resolution with the degradation that its folder's name stands for."""

from fedvsr.metrics.psnr import psnr
from fedvsr.testsets.base import ClipFolders
from fedvsr.video.decode import read_frames
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import crop_to_multiple

_MIN_PSNR = 40.0
"""PSNR in dB above which two low resolutions are the same but for rounding and borders."""


def disagreement(clip: ClipFolders, degradation: Degradation, scale: int) -> str:
    """Compares a clip's first low-resolution frame with what the degradation makes of the ground truth.

    Copies of one test set differ. If pixels lie 1.5 pixels of the ground truth away, the frames look the
    same, but a network loses 10 dB.

    Returns:
        A sentence about the difference. Empty if there is no difference, no ready-made low resolution, or
        one of another size.

    Raises:
        fedvsr.errors.VideoError: A frame cannot be read.
    """
    if clip.low is None:
        return ""
    low = read_frames(clip.low, 0, 1)
    expected = degradation(crop_to_multiple(read_frames(clip.truth, 0, 1), scale), scale)
    if low.shape != expected.shape:
        return ""
    ratio = psnr(low, expected).item()
    if ratio >= _MIN_PSNR:
        return ""
    return (
        f"{clip.low} is not what {degradation.name!r} makes of {clip.truth}: their first frames differ by "
        f"{ratio:.1f} dB, so the numbers belong to another degradation than their title says"
    )
