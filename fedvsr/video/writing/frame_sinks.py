"""Where frames go, and the simplest place: a file that is written from start to end."""

from pathlib import Path
from typing import Protocol

from fedvsr.video.frames import AnyFrames
from fedvsr.video.writing.companion_streams import CompanionStreams
from fedvsr.video.writing.finished_files import discard, partial_path, publish
from fedvsr.video.writing.output_file import OutputFile
from fedvsr.video.writing.video_encoder import VideoSettings


class FrameSink(Protocol):
    """Takes the frames of one video."""

    @property
    def frames_kept(self) -> int:
        """The number of frames that an earlier run wrote."""

    @property
    def kept_size(self) -> tuple[int, int] | None:
        """Height and width of the frames that an earlier run wrote."""

    def open(self, settings: VideoSettings) -> None:
        """Prepares for the first frame, now that its size is known."""

    def write(self, frame: AnyFrames, ticks: int) -> None:
        """Takes the next frame, uint8 or uint16 (H, W, 3) RGB, shown at a time in the video's time base."""

    def finish(self, settings: VideoSettings, duration: int | None) -> None:
        """Makes the video appear under its name.

        Args:
            settings: The video's.
            duration: For how long the last frame is shown, in the video's time base; None if it is not known.
        """

    def discard(self) -> None:
        """Deletes what is neither complete nor kept for a later run; does nothing after `finish`."""


class FileSink:
    """Encodes frames to a file.

    Args:
        path: The file.
        companions: The other streams of the frames' source.
    """

    frames_kept = 0
    kept_size = None

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

    def finish(self, settings: VideoSettings, duration: int | None) -> None:
        assert self._file is not None
        self._file.finish(duration or settings.frame_ticks)
        self._file = None
        publish(self._partial, self._path)

    def discard(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None
        discard(self._partial)
