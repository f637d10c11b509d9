"""Low resolution that is computed from the ground truth when it is read, as if from the whole clip."""

from typing import Any

from fedvsr.video.degradations.base import Degradation
from fedvsr.video.frames import Frames, crop_to_multiple
from fedvsr.video.pixels import Pixels, ranges_of


class ComputedLowResolution:
    """The low-resolution frames of a clip, computed slice by slice.

    Args:
        ground_truth: The clip, uint8 (T, H, W, 3).
        degradation: How low-resolution frames are made.
        scale: How many times smaller they are.

    Attributes:
        shape: (T, ⌊H / scale⌋, ⌊W / scale⌋, 3).
    """

    def __init__(self, ground_truth: Pixels, degradation: Degradation, scale: int) -> None:
        frames, height, width = ground_truth.shape[:3]
        self.shape = (frames, height // scale, width // scale, 3)
        self._ground_truth = ground_truth
        self._degradation = degradation
        self._scale = scale

    def __getitem__(self, key: Any, /) -> Frames:
        """Returns the pixels selected by up to three slices of step 1, equal to those of the whole clip."""
        frames, rows, columns = ranges_of(key, self.shape)
        reach = self._degradation.reach(self._scale)
        if reach is None:
            whole = self._degradation(crop_to_multiple(self._ground_truth[:], self._scale), self._scale)
            return whole[_slice(frames), _slice(rows), _slice(columns)]
        # A part ends either at the frame's own border or farther away than a pixel reaches.
        top, bottom = max(rows.start - reach, 0), min(rows.stop + reach, self.shape[1])
        left, right = max(columns.start - reach, 0), min(columns.stop + reach, self.shape[2])
        scale = self._scale
        part = self._ground_truth[
            frames.start : frames.stop, scale * top : scale * bottom, scale * left : scale * right
        ]
        small = self._degradation(part, scale)
        return small[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _slice(positions: range) -> slice:
    return slice(positions.start, positions.stop)
