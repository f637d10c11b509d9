"""Finding videos and decoding them to RGB frames."""

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
"""The frame rate of a folder of images, which states none."""

# Other containers state no length, or one that is estimated from the bit rate.
_SUFFIXES_WITH_LENGTH = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4"})
# A video trimmed without re-encoding hides a few of the frames that its header counts.
_DECODABLE_FRACTION = 0.95

_ACCEPTED = (
    f"a video file ({' '.join(sorted(VIDEO_SUFFIXES))}) "
    f"or a folder of images ({' '.join(sorted(IMAGE_SUFFIXES))})"
)


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Returns a sort key by which ``clip2`` comes before ``clip10``."""
    # re.split with a group alternates text and digits, so keys compare text to text, number to number.
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name


def list_videos(root: Path, pattern: str | None = None) -> list[Path]:
    """Finds the videos in a folder, at any depth, in natural order of their relative paths.

    A video is a file with a video suffix, or a folder that directly contains images and no such file
    (images beside videos are posters). So the layouts of REDS (``000/00000000.png``), Vimeo-90K
    (``00001/0001/im1.png``), Vid4 (``calendar/*.png``) and
    UDM10 (``archpeople/truth/0000.png``) are read as they are. Names that begin with a dot are
    passed over.

    Args:
        root: A folder of videos, or one video.
        pattern: A glob (``train_*.mp4``, ``*/blur4/*``) that a video's path relative to ``root``
            must match, from its right end.

    Raises:
        fedvsr.errors.VideoError: ``root`` does not exist, or no video is there.
    """
    if not root.exists():
        raise VideoError(f"{root}: there is no such file or folder; give {_ACCEPTED}")
    found = list(_walk(root))
    if pattern is not None:
        found = [path for path in found if _relative(path, root).match(pattern)]
    if not found:
        wanted = "" if pattern is None else f" that matches {pattern!r}"
        raise VideoError(f"{root}: no video{wanted} was found; a video is {_ACCEPTED}")
    return sorted(found, key=lambda path: [natural_key(part) for part in _relative(path, root).parts])


def _walk(root: Path) -> Iterator[Path]:
    if root.is_file() and root.suffix.lower() in VIDEO_SUFFIXES:
        yield root
    visited: set[Path] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        path = Path(folder)
        if path.resolve() in visited:  # a symbolic link that leads back up
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
    """Decodes a video file or a folder of images, frame by frame, once, from the start.

    A context manager and an iterator of uint8 (H, W, 3) RGB frames; one frame is held at a time.
    Images of a folder come in natural order of their names; 16-bit and grey images are converted to
    8-bit RGB, transparency is dropped.

    Attributes:
        path: The file or folder.
        fps: Frames per second; `FOLDER_FRAMES_PER_SECOND` for a folder, None where a file states none.
        frame_count: How many frames there are by the file's header, an estimate in some formats;
            exact for a folder, None where the file does not say.
        height: In pixels.
        width: In pixels.

    Raises:
        fedvsr.errors.VideoError: On entering, the file or folder cannot be opened or holds no frame.
            On iterating, an image cannot be read or has another size than the first, or the file
            ends before 95 % of the frames that its header states. Damage that the decoder conceals
            inside a frame is not noticed.
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
            raise VideoError(f"{self.path}: there is no such file or folder; give {_ACCEPTED}")
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
        # An empty iterator lets go of the suspended generator and, with it, of the decoder.
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
                    f"folder is {size[1]}×{size[0]}; a folder holds the frames of one video, all of one size"
                )
            yield frame

    def _open_file(self) -> Iterator[Frames]:
        with quiet():
            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise VideoError(
                f"{self.path}: cannot be opened as a video; it is no video, cut short or of an unknown "
                "codec, so copy it again or re-encode it, for example to H.264"
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
                    more, frame = capture.read()
                if not more:
                    break
                decoded += 1
                yield cast("Frames", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        finally:
            capture.release()
        stated = self.frame_count if self.path.suffix.lower() in _SUFFIXES_WITH_LENGTH else None
        if decoded == 0 or decoded < _DECODABLE_FRACTION * (stated or 0):
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
        # Decoding from memory refuses a JPEG that is cut short; decoding the file fills it up with grey.
        with quiet():
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    except (OSError, cv2.error) as error:
        raise VideoError(f"{path}: the image cannot be read ({error}); copy it again") from error
    if image is None:
        raise VideoError(f"{path}: the image is corrupt or cut short; copy it again or delete it")
    return cast("Frames", image)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Frames:
    """Decodes the frames ``start`` to ``stop`` (exclusive; None is the end) of a video.

    Frames before ``start`` are decoded and thrown away, since seeking is inexact in many files.
    As in a slice, a ``stop`` past the end is the end.

    Returns:
        uint8 (T, H, W, 3).

    Raises:
        fedvsr.errors.VideoError: The video cannot be read, or has no frame in that range.
    """
    with VideoReader(path) as video:
        frames = list(islice(video, start, stop))
    if not frames:
        raise VideoError(
            f"{path}: has no frames from {start} to {stop if stop is not None else 'the end'}; "
            "ask for an earlier and longer range"
        )
    return np.stack(frames)
