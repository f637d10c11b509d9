"""Reads a folder of images as the frames of one video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from fedvsr.errors import VideoError
from fedvsr.video.frames import AnyFrames
from fedvsr.video.listing import ACCEPTED, IMAGE_SUFFIXES, natural_key
from fedvsr.video.opencv import quiet

FOLDER_FRAMES_PER_SECOND = Fraction(24)
"""The assumed frame rate of a folder of images, which has no stated one."""


class ImageFolder:
    """The images of a folder, in natural order of their names.

    Grey images become RGB, and transparency is dropped.

    Attributes:
        frame_count: Number of images, at least 1.
        bit_depth: 16 if the first image has 16 bits per channel, else 8.

    Raises:
        fedvsr.errors.VideoError: On creation, if the folder directly contains no image or the first one
            cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._images = sorted(
            (
                image
                for image in path.iterdir()
                if image.suffix.lower() in IMAGE_SUFFIXES and not image.name.startswith(".")
            ),
            key=lambda image: natural_key(image.name),
        )
        if not self._images:
            raise VideoError(f"{path}: the folder directly contains no image; give {ACCEPTED}")
        self.frame_count = len(self._images)
        first = _read_image(self._images[0], deep=True)
        self._shape = first.shape
        self.height, self.width = first.shape[:2]
        self.bit_depth = 16 if first.dtype == np.uint16 else 8

    def read(
        self, start: int, stop: int, *, deep: bool, damaged: list[int] | None
    ) -> Iterator[tuple[int, AnyFrames]]:
        """Yields images from number ``start`` up to before ``stop`` and their numbers.

        Args:
            start: The first image, counted from 0.
            stop: The image after the last one.
            deep: Whether to return uint16 if the folder's images have 16 bits; else the frames are uint8.
            damaged: If not None, images that cannot be read are skipped, and their numbers are added here.

        Yields:
            The number of an image and its pixels, (H, W, 3).

        Raises:
            fedvsr.errors.VideoError: An image cannot be read, or differs in size from the first.
        """
        deep = deep and self.bit_depth > 8
        for number in range(start, min(stop, self.frame_count)):
            path = self._images[number]
            try:
                frame = _read_image(path, deep)
            except VideoError:
                if damaged is None:
                    raise
                damaged.append(number)
                continue
            if frame.shape != self._shape:
                raise VideoError(
                    f"{path}: is {frame.shape[1]}×{frame.shape[0]} pixels, but {self._images[0].name} in the "
                    f"same folder is {self.width}×{self.height}; a folder must hold frames of one size, from "
                    "one video"
                )
            if deep and frame.dtype == np.uint8:
                frame = frame.astype(np.uint16) * 257
            yield number, frame


def _read_image(path: Path, deep: bool) -> AnyFrames:
    """Returns an image as RGB: uint8, or its own depth if ``deep``."""
    flags = cv2.IMREAD_COLOR_RGB | (cv2.IMREAD_ANYDEPTH if deep else 0)
    try:
        data = np.fromfile(path, dtype=np.uint8)
        # OpenCV rejects a truncated JPEG in memory, but accepts it from a file and fills the rest with grey.
        with quiet():
            image = cv2.imdecode(data, flags) if data.size else None
    except (OSError, cv2.error) as error:
        raise VideoError(f"{path}: the image cannot be read ({error}); copy it again") from error
    if image is None:
        raise VideoError(f"{path}: the image is corrupt or cut short; copy it again or delete it")
    return cast("AnyFrames", image)
