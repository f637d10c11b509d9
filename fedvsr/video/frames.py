"""The types of frames in `fedvsr`, and their cropping."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import VideoError

Frames = NDArray[np.uint8]
"""RGB frames, uint8 in 0..255: (T, H, W, 3) for a clip, (H, W, 3) for one frame."""

DeepFrames = NDArray[np.uint16]
"""RGB frames of more than 8 bits, uint16, shaped like `Frames`. 65535 is full scale at any bit depth."""

AnyFrames = Frames | DeepFrames
"""Frames of either depth; 255 and 65535 mean the same brightness."""

_AnyFrames = TypeVar("_AnyFrames", Frames, DeepFrames)


@dataclass(frozen=True)
class TimedFrame:
    """One frame and when a player shows it.

    Attributes:
        pixels: RGB, (H, W, 3), uint8 or uint16.
        time: In seconds, 0 at the start of the file's first stream, be it video or sound.
        duration: In seconds, above 0; None if the file does not state it.
    """

    pixels: AnyFrames
    time: Fraction
    duration: Fraction | None


def crop_to_multiple(frames: _AnyFrames, scale: int) -> _AnyFrames:
    """Crops frames at the bottom and right so that height and width are divisible by ``scale``.

    Papers on super-resolution call this "mod crop".

    Args:
        frames: uint8 or uint16 (…, H, W, 3).
        scale: At least 1.

    Returns:
        A view (…, H − H mod scale, W − W mod scale, 3).

    Raises:
        fedvsr.errors.VideoError: H or W is smaller than ``scale``, so no pixel would be left.
    """
    height, width = frames.shape[-3:-1]
    if height < scale or width < scale:
        raise VideoError(
            f"frames of {width}×{height} pixels are smaller than the scale {scale}; "
            "leave this video out or use a smaller scale"
        )
    return frames[..., : height - height % scale, : width - width % scale, :]
