"""Writes frames to a video file or a folder of images."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from fedvsr.errors import VideoError
from fedvsr.video.frames import Frames
from fedvsr.video.opencv import quiet

CODECS = {".mp4": "mp4v", ".avi": "FFV1", ".mkv": "FFV1"}
"""The codec for each suffix: MPEG-4 Part 2 (``mp4v``) is lossy and widely playable, FFV1 is lossless."""

_ACCEPTED = f"{', '.join(CODECS)}, or a name without a suffix for a folder of PNG frames"


class VideoWriter:
    """Writes uint8 (H, W, 3) RGB frames to a video; a context manager.

    The suffix of ``path`` chooses the format: ``.mp4`` (MPEG-4 Part 2, lossy), ``.avi`` and ``.mkv``
    (FFV1, lossless), or none for a folder of PNG frames named as in REDS (``00000000.png``, lossless).
    The video is written under a temporary name next to ``path`` and renamed at the end, so an error leaves no
    incomplete video. An existing file is replaced. An existing folder must be empty.

    Args:
        path: The video to write. Missing parent folders are created.
        fps: Frames per second, above 0. A folder of images does not store it.

    Attributes:
        frames_written: Number of frames written so far.

    Raises:
        fedvsr.errors.VideoError: On creation, if the suffix is unknown, ``fps`` is out of range or the
            folder has files. On entering, if ``path`` cannot be written. On writing, if a frame is not
            uint8 (H, W, 3), differs in size from the first, or has an odd side, which these video
            files cannot hold. On leaving, if no frame was written or the encoder or disk failed.
    """

    def __init__(self, path: Path, fps: float) -> None:
        suffix = path.suffix.lower()
        if suffix and suffix not in CODECS and not path.is_dir():
            raise VideoError(f"{path}: videos with the suffix {suffix!r} cannot be written; use {_ACCEPTED}")
        if not 0 < fps < float("inf"):
            raise VideoError(f"{path}: the frame rate {fps} is invalid; give a positive number")
        if path.is_dir() and (suffix in CODECS or any(path.iterdir())):
            raise VideoError(f"{path}: the folder already exists; delete it or choose another name")
        self.path = path
        self.fps = fps
        self.frames_written = 0
        self._codec = CODECS.get(suffix)
        self._temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._size: tuple[int, ...] = ()
        self._encoder: cv2.VideoWriter | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._discard()
            if self._codec is None:
                self._temporary.mkdir()
            else:
                self._temporary.touch()
        except OSError as error:
            raise VideoError(
                f"{self.path}: cannot be written ({error.strerror}); choose a folder that you may write to"
            ) from error
        return self

    def write(self, frame: Frames) -> None:
        """Appends one frame, uint8 (H, W, 3) RGB.

        Raises:
            fedvsr.errors.VideoError: The frame has the wrong shape or dtype, or cannot be written.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise VideoError(
                f"{self.path}: expected a uint8 frame of shape (H, W, 3), got {frame.dtype} {frame.shape}; "
                "convert it first"
            )
        if self.frames_written == 0:
            self._size = frame.shape
            self._open_encoder()
        if frame.shape != self._size:
            raise VideoError(
                f"{self.path}: frame {self.frames_written} is {frame.shape[1]}×{frame.shape[0]} pixels, but "
                f"the first is {self._size[1]}×{self._size[0]}; give frames of one size"
            )
        blue_first = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        with quiet():
            if self._encoder is not None:
                self._encoder.write(blue_first)
            else:
                self._write_image(self._temporary / f"{self.frames_written:08d}.png", blue_first)
        self.frames_written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._encoder is not None:
                self._encoder.release()
            if error is None:
                self._finish()
        finally:
            self._discard()

    def _open_encoder(self) -> None:
        if self._codec is None:
            return
        height, width = self._size[:2]
        if height % 2 or width % 2:
            # OpenCV would silently drop the last row or column.
            raise VideoError(
                f"{self.path}: {self.path.suffix} cannot hold the odd size {width}×{height}; "
                "write to a folder of PNG frames (a name without a suffix) instead"
            )
        fourcc = cv2.VideoWriter.fourcc(*self._codec)
        with quiet():
            self._encoder = cv2.VideoWriter(
                str(self._temporary), cv2.CAP_FFMPEG, fourcc, self.fps, (width, height)
            )
        if not self._encoder.isOpened():
            raise VideoError(
                f"{self.path}: the installed OpenCV has no {self._codec} encoder for {width}×{height}; "
                "write to a folder of PNG frames (a name without a suffix) instead"
            )

    def _write_image(self, path: Path, image: Frames) -> None:
        if not cv2.imwrite(str(path), image):
            raise VideoError(f"{self.path}: frame {path.name} cannot be written; check for a full disk")

    def _finish(self) -> None:
        if self.frames_written == 0:
            raise VideoError(f"{self.path}: no frame was written; give at least one")
        if self._encoder is not None:
            self._check_file()
        try:
            self._temporary.replace(self.path)
        except OSError as error:
            raise VideoError(
                f"{self.path}: cannot be written ({error.strerror}); choose another name"
            ) from error

    def _check_file(self) -> None:
        # OpenCV's encoder does not report a full disk, but then the header has a smaller number of frames.
        with quiet():
            capture = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
        if count != self.frames_written:
            raise VideoError(
                f"{self.path}: {self.frames_written} frames were written, but {max(count, 0)} are in the "
                "file; check for a full disk"
            )

    def _discard(self) -> None:
        if self._temporary.is_dir():
            shutil.rmtree(self._temporary)
        else:
            self._temporary.unlink(missing_ok=True)
