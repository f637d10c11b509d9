"""Finds videos and decodes them to RGB frames."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self, cast

import cv2
import numpy as np

from fedvsr.errors import VideoError
from fedvsr.video.frames import Frames
from fedvsr.video.opencv import quiet

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv", ".y4m"}
)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})

FOLDER_FRAMES_PER_SECOND = 24.0
"""The assumed frame rate of a folder of images, which has no stated one."""

# These containers state their number of frames. Others state nothing, or an estimate from the bit rate.
_SUFFIXES_WITH_FRAME_COUNT = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4"})
# The header of a video that was trimmed without re-encoding counts a few frames that cannot be decoded.
_MIN_DECODED_FRACTION = 0.95

_ACCEPTED = (
    f"a video file ({' '.join(sorted(VIDEO_SUFFIXES))}) "
    f"or a folder of images ({' '.join(sorted(IMAGE_SUFFIXES))})"
)


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Returns a sort key that puts ``clip2`` before ``clip10``."""
    # With a group, re.split alternates text and digits, so texts and numbers are never compared with each
    # other.
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name


def list_videos(root: Path, pattern: str | None = None) -> list[Path]:
    """Returns the videos in a folder, at any depth, in natural order of their relative paths.

    A video is one of:

    - a file with a suffix of `VIDEO_SUFFIXES`;
    - a folder that directly contains images and no video file. Images next to a video file are assumed to be
      posters.

    This covers the layouts of REDS (``000/00000000.png``), Vimeo-90K (``00001/0001/im1.png``), Vid4
    (``calendar/*.png``) and UDM10 (``archpeople/truth/0000.png``). Names that begin with a dot are
    skipped.

    Args:
        root: A folder of videos, or one video.
        pattern: A glob (``train_*.mp4``, ``*/blur4/*``) that a video's path relative to ``root``
            must match, from its right end (`pathlib.PurePath.match`). None accepts every video.

    Returns:
        At least one path, each in ``root`` or ``root`` itself.

    Raises:
        fedvsr.errors.VideoError: ``root`` does not exist or has no such video.
    """
    if not root.exists():
        raise VideoError(f"{root}: no such file or folder; give {_ACCEPTED}")
    videos = list(_walk(root))
    if pattern is not None:
        videos = [path for path in videos if _relative(path, root).match(pattern)]
    if not videos:
        condition = "" if pattern is None else f" that matches {pattern!r}"
        raise VideoError(f"{root}: no video{condition} was found; a video is {_ACCEPTED}")
    return sorted(videos, key=lambda path: [natural_key(part) for part in _relative(path, root).parts])


def _walk(root: Path) -> Iterator[Path]:
    """Yields the videos at a path and in it, in the file system's order."""
    if root.is_file() and root.suffix.lower() in VIDEO_SUFFIXES:
        yield root
    visited: set[Path] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        path = Path(folder)
        if path.resolve() in visited:  # a symbolic link to a folder above
            subfolders.clear()
            continue
        visited.add(path.resolve())
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = [name for name in files if not name.startswith(".")]
        videos = [name for name in visible if PurePath(name).suffix.lower() in VIDEO_SUFFIXES]
        yield from (path / name for name in videos)
        if not videos and any(PurePath(name).suffix.lower() in IMAGE_SUFFIXES for name in visible):
            yield path


def _relative(path: Path, root: Path) -> PurePath:
    return PurePath(root.name) if path == root else path.relative_to(root)


class VideoReader:
    """Decodes a video file or a folder of images once, frame by frame, from the start.

    A context manager and an iterator of uint8 (H, W, 3) RGB frames. Memory holds one frame at a time. The
    images of a folder are read in natural order of their names. Images with 16 bits or in grey are converted
    to 8-bit RGB, and transparency is dropped. The attributes other than ``path`` are set on entering the
    ``with`` block.

    Attributes:
        path: The file or folder.
        fps: Frames per second: `FOLDER_FRAMES_PER_SECOND` for a folder, None if a file does not state them.
        frame_count: Number of frames, exact for a folder. For a file it is the header's number, which is an
            estimate in some formats; None if the header has none.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.

    Raises:
        fedvsr.errors.VideoError: On entering, if the file or folder cannot be opened or contains no frame.
            On iterating, if an image cannot be read or differs in size from the first, or if the file
            ends before 95 % of the frames that its header states. Damage inside a frame that the decoder
            conceals raises no error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fps: float | None = None
        self.frame_count: int | None = None
        self.height = 0
        self.width = 0
        self._frames: Iterator[Frames] = iter(())

    def __enter__(self) -> Self:
        if self.path.is_dir():
            source = self._open_folder()
        elif self.path.is_file():
            source = self._open_file()
        else:
            raise VideoError(f"{self.path}: no such file or folder; give {_ACCEPTED}")
        first = next(source)
        self.height, self.width = first.shape[:2]
        self._frames = _chain(first, source)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Releasing the suspended generator closes its decoder.
        self._frames = iter(())

    def __iter__(self) -> Iterator[Frames]:
        return self

    def __next__(self) -> Frames:
        return next(self._frames)

    def _open_folder(self) -> Iterator[Frames]:
        images = sorted(
            (
                path
                for path in self.path.iterdir()
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            ),
            key=lambda path: natural_key(path.name),
        )
        if not images:
            raise VideoError(f"{self.path}: the folder directly contains no image; give {_ACCEPTED}")
        self.fps = FOLDER_FRAMES_PER_SECOND
        self.frame_count = len(images)
        return self._read_images(images)

    def _read_images(self, images: list[Path]) -> Iterator[Frames]:
        size: tuple[int, ...] | None = None
        for path in images:
            frame = _read_image(path)
            size = size or frame.shape
            if frame.shape != size:
                raise VideoError(
                    f"{path}: is {frame.shape[1]}×{frame.shape[0]} pixels, but {images[0].name} in the same "
                    f"folder is {size[1]}×{size[0]}; a folder must hold frames of one size, from one video"
                )
            yield frame

    def _open_file(self) -> Iterator[Frames]:
        with quiet():
            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise VideoError(
                f"{self.path}: cannot be opened as a video: it is not a video, is cut short or has an "
                "unknown codec; copy it again or re-encode it, for example to H.264"
            )
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if 0 < fps < float("inf") else None
        self.frame_count = count if count > 0 else None
        return self._read_capture(capture)

    def _read_capture(self, capture: "cv2.VideoCapture") -> Iterator[Frames]:
        decoded = 0
        try:
            while True:
                with quiet():
                    decodable, frame = capture.read()
                if not decodable:
                    break
                decoded += 1
                yield cast("Frames", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        finally:
            capture.release()
        self._check_decoded(decoded)

    def _check_decoded(self, decoded: int) -> None:
        stated = self.frame_count if self.path.suffix.lower() in _SUFFIXES_WITH_FRAME_COUNT else None
        if decoded == 0 or decoded < _MIN_DECODED_FRACTION * (stated or 0):
            raise VideoError(
                f"{self.path}: the header states {stated or 'some'} frames, but only {decoded} could be "
                "decoded; the file is corrupt or cut short, so copy it again or re-encode it"
            )


def _chain(first: Frames, rest: Iterator[Frames]) -> Iterator[Frames]:
    yield first
    yield from rest


def _read_image(path: Path) -> Frames:
    try:
        data = np.fromfile(path, dtype=np.uint8)
        # OpenCV rejects a truncated JPEG in memory, but accepts it from a file and fills the rest with grey.
        with quiet():
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    except (OSError, cv2.error) as error:
        raise VideoError(f"{path}: the image cannot be read ({error}); copy it again") from error
    if image is None:
        raise VideoError(f"{path}: the image is corrupt or cut short; copy it again or delete it")
    return cast("Frames", image)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Frames:
    """Decodes a range of a video's frames.

    Frames before ``start`` are decoded and discarded, because seeking is inexact in many files.

    Args:
        path: A video file or a folder of images.
        start: The first frame, counted from 0.
        stop: The frame after the last one. None, or a number past the end, means the video's end.

    Returns:
        uint8 (T, H, W, 3), RGB, at least one frame.

    Raises:
        fedvsr.errors.VideoError: The video cannot be read or has no frame in that range.
    """
    with VideoReader(path) as video:
        frames = list(islice(video, start, stop))
    if not frames:
        raise VideoError(
            f"{path}: has no frames from {start} to {stop if stop is not None else 'the end'}; "
            "ask for an earlier or longer range"
        )
    return np.stack(frames)
