"""Turns frames as a file's display matrix says."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

from fedvsr.video.frames import AnyFrames


@dataclass(frozen=True)
class Orientation:
    """A rotation by a multiple of 90°, with or without mirroring.

    Attributes:
        transposed: Whether lines become columns, before the flips.
        flipped_x: Whether left and right change places.
        flipped_y: Whether top and bottom change places.
    """

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    def apply(self, frame: AnyFrames) -> AnyFrames:
        """Returns a frame (H, W, 3) turned: (H, W, 3) or (W, H, 3), contiguous."""
        if self == Orientation():
            return frame
        if self.transposed:
            frame = frame.transpose(1, 0, 2)
        turned = frame[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]
        return cast("AnyFrames", np.ascontiguousarray(turned))


def orientation_of(picture: VideoFrame) -> Orientation:
    """Returns a picture's orientation by its display matrix (ISO/IEC 14496-12, 8.2.2; H.264 and H.265 SEI).

    An angle that is no multiple of 90° becomes the nearest one.
    """
    side_data = cast("SideDataContainer", picture.side_data)
    items = (side_data[index] for index in range(len(side_data)))
    data = next((bytes(item) for item in items if item.type is Type.DISPLAYMATRIX), b"")
    if not data:
        return Orientation()
    # The point (x, y) moves to (a·x + c·y, b·x + d·y).
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, flipped_x=c < 0, flipped_y=b < 0)
    return Orientation(False, flipped_x=a < 0, flipped_y=d < 0)
