"""Decodes videos to RGB frames."""

from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar, overload

import av.error
import numpy as np

from fedvsr.errors import VideoError
from fedvsr.video.frames import AnyFrames, Frames, TimedFrame
from fedvsr.video.listing import ACCEPTED
from fedvsr.video.reading.colour import RgbConverter
from fedvsr.video.reading.image_folder import FOLDER_FRAMES_PER_SECOND, ImageFolder
from fedvsr.video.reading.interlacing import deinterlace
from fedvsr.video.reading.lookahead import map_ahead
from fedvsr.video.reading.orientation import Orientation, orientation_of
from fedvsr.video.reading.video_file import DecodedFrame, VideoFile

# The conversion to RGB takes as long as decoding. One frame ahead is enough for both to go on all the time.
_FRAMES_AHEAD = 1

Pixels = TypeVar("Pixels", Frames, AnyFrames)


class VideoReader(Generic[Pixels]):
    """Decodes a video file or a folder of images once, frame by frame, from the start.

    A context manager and an iterator of (H, W, 3) RGB frames. The attributes other than ``path`` are set on
    entering the ``with`` block.

    Args:
        path: A video file or a folder of images.
        deep: Whether a source of more than 8 bits gives uint16 frames. Otherwise all frames are uint8.
        skip_damaged: Whether frames that do not decode are skipped and their numbers recorded in ``damaged``.
            Otherwise such a frame is an error.
        start: The time from which to read, in seconds, on the clock of `TimedFrame`.
        duration: The length to read in seconds; None means to the end.

    Attributes:
        path: The file or folder.
        fps: Frames per second, exact: `FOLDER_FRAMES_PER_SECOND` for a folder, None if a file does not state
            them. The mean rate if it varies.
        frame_count: Number of frames of the whole video, exact for a folder. For a file it is the header's
            number, which is an estimate in some formats; None if the header has none.
        height: Height of a frame in pixels, after the file's rotation.
        width: Width of a frame in pixels, after the file's rotation.
        pixel_aspect: Width of a pixel divided by its height (sample aspect ratio), after the rotation; 1 if
            the file does not state it.
        bit_depth: Bits per channel of the source: 8, 10, 12, 16.
        damaged: Numbers of the frames that were skipped so far, counted from 0 in the whole video.

    Raises:
        fedvsr.errors.VideoError: On entering, if the file or folder cannot be opened or contains no frame.
            On iterating, if a frame or image cannot be read or differs in size from the first.
    """

    @overload
    def __init__(
        self: "VideoReader[Frames]",
        path: Path,
        *,
        deep: Literal[False] = ...,
        skip_damaged: bool = ...,
        start: Fraction = ...,
        duration: Fraction | None = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: "VideoReader[AnyFrames]",
        path: Path,
        *,
        deep: bool,
        skip_damaged: bool = ...,
        start: Fraction = ...,
        duration: Fraction | None = ...,
    ) -> None: ...

    def __init__(
        self,
        path: Path,
        *,
        deep: bool = False,
        skip_damaged: bool = False,
        start: Fraction = Fraction(0),
        duration: Fraction | None = None,
    ) -> None:
        self.path = path
        self.fps: Fraction | None = None
        self.frame_count: int | None = None
        self.height = 0
        self.width = 0
        self.pixel_aspect = Fraction(1)
        self.bit_depth = 8
        self.damaged: list[int] = []
        self._deep = deep
        self._skip_damaged = skip_damaged
        self._start = start
        self._stop = None if duration is None else start + duration
        self._frames: Iterator[TimedFrame] = iter(())

    def __enter__(self) -> Self:
        if self.path.is_dir():
            source = self._open_folder()
        elif self.path.is_file():
            source = self._open_file()
        else:
            raise VideoError(f"{self.path}: no such file or folder; give {ACCEPTED}")
        try:
            first = next(source, None)
        except BaseException:
            source.close()
            raise
        if first is None:
            raise VideoError(f"{self.path}: has no frame in the part to read; choose an earlier start")
        self.height, self.width = first.pixels.shape[:2]
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

    def __iter__(self) -> Iterator[Pixels]:
        return self

    def __next__(self) -> Pixels:
        return next(self._frames).pixels  # type: ignore[return-value]  # the depth follows from deep

    def timed_frames(self) -> Iterator[TimedFrame]:
        """Returns an iterator of the frames that are not read yet, with their times."""
        return self._frames

    def _open_folder(self) -> Generator[TimedFrame]:
        folder = ImageFolder(self.path)
        rate = FOLDER_FRAMES_PER_SECOND
        self.fps, self.frame_count, self.bit_depth = rate, folder.frame_count, folder.bit_depth
        first = max(0, -int(-self._start * rate // 1))
        stop = folder.frame_count if self._stop is None else -int(-self._stop * rate // 1)
        damaged = self.damaged if self._skip_damaged else None
        for number, pixels in folder.read(first, stop, deep=self._deep, damaged=damaged):
            yield TimedFrame(pixels, number / rate, 1 / rate)

    def _open_file(self) -> Generator[TimedFrame, None, None]:
        with VideoFile(self.path) as file:
            self.fps, self.frame_count, self.bit_depth = file.fps, file.frame_count, file.bit_depth
            self.pixel_aspect = file.pixel_aspect
            converter = RgbConverter(deep=self._deep)

            def convert(oriented: tuple[DecodedFrame, Orientation]) -> TimedFrame:
                frame, orientation = oriented
                pixels = orientation.apply(self._convert(converter, frame))
                return TimedFrame(pixels, frame.time, frame.duration)

            with (
                closing(self._decode(file)) as decoded,
                closing(map_ahead(convert, decoded, _FRAMES_AHEAD)) as frames,
            ):
                yield from frames

    def _decode(self, file: VideoFile) -> Generator[tuple[DecodedFrame, Orientation], None, None]:
        """Yields the frames of the part to read, deinterlaced, and how to turn them."""
        orientation: Orientation | None = None
        damaged = self.damaged if self._skip_damaged else None
        with closing(file.frames(damaged, self._start)) as decoded:
            for frame in deinterlace(decoded):
                if orientation is None:
                    orientation = orientation_of(frame.picture)
                    if orientation.transposed:
                        self.pixel_aspect = 1 / self.pixel_aspect
                    size = frame.picture.width, frame.picture.height
                self._check_size(frame, size)
                if frame.time < self._start:
                    continue
                if self._stop is not None and frame.time >= self._stop:
                    return
                yield frame, orientation

    def _check_size(self, frame: DecodedFrame, size: tuple[int, int]) -> None:
        picture = frame.picture
        if (picture.width, picture.height) != size:
            raise VideoError(
                f"{self.path}: frame {frame.number} is {picture.width}×{picture.height} pixels, but the "
                f"first is {size[0]}×{size[1]}; cut the file there, or re-encode it to one size"
            )

    def _convert(self, converter: RgbConverter, frame: DecodedFrame) -> AnyFrames:
        try:
            return converter.convert(frame.picture)
        except av.error.FFmpegError as error:
            raise VideoError(
                f"{self.path}: frame {frame.number} has the pixel format {frame.picture.format.name}, which "
                f"cannot be converted to RGB ({error.strerror}); re-encode the file, for example to H.264"
            ) from error


def _chain(first: TimedFrame, rest: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    yield first
    yield from rest


def count_frames(path: Path) -> int:
    """Returns a video's number of frames.

    It is exact for a folder of images. For a file it is the header's number, or, if the header has none, the
    number of frames that decode.

    Raises:
        fedvsr.errors.VideoError: The video cannot be read.
    """
    with VideoReader(path) as video:
        if video.frame_count is not None:
            return video.frame_count
        return sum(1 for _ in video)


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
