"""Where frames go: a file, segments of a file that a later run continues, or a folder of images."""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fedvsr.video.companion_streams import CompanionStreams
from fedvsr.video.finished_files import discard, partial_path, publish
from fedvsr.video.frames import AnyFrames
from fedvsr.video.output_file import OutputFile
from fedvsr.video.video_encoder import VideoSettings


class FrameSink(Protocol):
    """Takes the frames of one video."""

    @property
    def frames_kept(self) -> int:
        """The number of frames that an earlier run wrote."""

    def open(self, settings: VideoSettings) -> None:
        """Prepares for the first frame, now that its size is known."""

    def write(self, frame: AnyFrames, ticks: int) -> None:
        """Takes the next frame, uint8 or uint16 (H, W, 3) RGB, shown at a time in the video's time base."""

    def finish(self, duration: int) -> None:
        """Makes the video appear under its name; the last frame is shown for a duration."""

    def discard(self) -> None:
        """Deletes what is not complete; does nothing after `finish`."""


class FileSink:
    """Encodes frames to a file.

    Args:
        path: The file.
        companions: The other streams of the frames' source.
    """

    frames_kept = 0

    def __init__(self, path: Path, companions: CompanionStreams) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._companions = companions
        self._file: OutputFile | None = None
        discard(self._partial)
        self._partial.touch()

    def open(self, settings: VideoSettings) -> None:
        self._file = OutputFile(self._partial, settings, self._companions)

    def write(self, frame: AnyFrames, ticks: int) -> None:
        assert self._file is not None
        self._file.write(frame, ticks)

    def finish(self, duration: int) -> None:
        assert self._file is not None
        self._file.finish(duration)
        self._file = None
        publish(self._partial, self._path)

    def discard(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None
        discard(self._partial)


class FolderSink:
    """Writes frames as PNG images with 8 or 16 bits, named as in REDS (``00000000.png``).

    Args:
        path: The folder; it does not exist or is empty.
    """

    frames_kept = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._frames = 0
        discard(self._partial)
        self._partial.mkdir()

    def open(self, settings: VideoSettings) -> None:
        """Does nothing: images need no preparation."""

    def write(self, frame: AnyFrames, ticks: int) -> None:
        write_image(self._partial / f"{self._frames:08d}.png", frame)
        self._frames += 1

    def finish(self, duration: int) -> None:
        publish(self._partial, self._path)

    def discard(self) -> None:
        discard(self._partial)


def write_image(path: Path, frame: AnyFrames) -> None:
    """Writes a frame as a PNG image."""
    blue_first = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
    # cv2.imwrite would print the reason of a failure on stderr.
    _, encoded = cv2.imencode(".png", blue_first)
    path.write_bytes(encoded)
