"""Opens a video file and decodes its video stream."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error

from fedvsr.errors import VideoError
from fedvsr.video.frames import TimedFrame


class VideoFile:
    """The video stream of a local file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        try:
            self._container = av.open(f"file:{self.path}", metadata_errors="replace")
        except av.error.FFmpegError as error:
            raise VideoError(
                f"{self.path}: cannot be opened as a video: it is not a video, is cut short or has an "
                "unknown codec; copy it again or re-encode it, for example to H.264"
            ) from error
        self.stream = self._container.streams.video[0]
        self.fps = self.stream.average_rate or self.stream.guessed_rate
        self.frame_count = self.stream.frames or None
        self.pixel_aspect = self.stream.sample_aspect_ratio or Fraction(1)
        self.bit_depth = self.stream.format.components[0].bits
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.close()

    def frames(self, deep: bool) -> Iterator[TimedFrame]:
        stream = self.stream
        stream.codec_context.thread_type = "AUTO"
        zero = Fraction(self._container.start_time or 0, 1_000_000)
        reformatter = av.video.reformatter.VideoReformatter()
        target = "rgb48le" if deep and self.bit_depth > 8 else "rgb24"
        for frame in self._container.decode(stream):
            converted = reformatter.reformat(frame, format=target, interpolation="BICUBIC")
            yield TimedFrame(
                converted.to_ndarray(),
                frame.pts * frame.time_base - zero,
                frame.duration * frame.time_base if frame.duration else None,
            )
