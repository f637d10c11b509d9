"""Whether a ready-made low resolution is what its folder's name says."""

from fedvsr.metrics.psnr import psnr
from fedvsr.testsets.base import ClipFolders
from fedvsr.video.decode import read_frames
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames, crop_to_multiple

_LEAST = 40.0
"""PSNR in dB above which two low resolutions are the same but for rounding and borders."""


def disagreement(clip: ClipFolders, degradation: Degradation, scale: int) -> str:
    """Compares a clip's first frame with what the degradation makes of the ground truth.

    Copies of one test set differ: pixels that lie 1.5 pixels of the ground truth elsewhere look the same and
    cost a network 10 dB.

    Returns:
        A sentence about the difference, or nothing where there is none, or no low resolution, or one of
        another size.
    """
    if clip.low is None:
        return ""
    found = _first(clip, low=True)
    expected = degradation(crop_to_multiple(_first(clip, low=False), scale), scale)
    if found.shape != expected.shape:
        return ""
    ratio = psnr(found, expected).item()
    if ratio >= _LEAST:
        return ""
    return (
        f"{clip.low} is not what {degradation.name!r} makes of {clip.truth}: their first frames differ by "
        f"{ratio:.1f} dB, so the numbers are of another degradation than their title says"
    )


def _first(clip: ClipFolders, low: bool) -> Frames:
    """Returns (1, H, W, 3)."""
    return read_frames(clip.low if low and clip.low else clip.truth, 0, 1)
