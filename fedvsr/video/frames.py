"""The type of frames in `fedvsr`, and their cropping."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import VideoError

Frames = NDArray[np.uint8]
"""RGB frames, uint8 in 0..255: (T, H, W, 3) for a clip, (H, W, 3) for one frame."""

DeepFrames = NDArray[np.uint16]
"""RGB frames of more than 8 bits, uint16 in 0..65535, of the same shapes. 10-bit video is scaled up."""

AnyFrames = Frames | DeepFrames
"""Frames of either depth."""

FramesT = TypeVar("FramesT", bound=AnyFrames)
"""The frames of one depth that a function takes and returns."""


def crop_to_multiple(frames: Frames, scale: int) -> Frames:
    """Crops frames at the bottom and right so that height and width are divisible by ``scale``.

    Papers on super-resolution call this "mod crop".

    Args:
        frames: uint8 (…, H, W, 3).
        scale: At least 1.

    Returns:
        A view, uint8 (…, H − H mod scale, W − W mod scale, 3).

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
