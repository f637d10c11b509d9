"""Decodes the video stream of a file, frame by frame, and tells which frames do not decode."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av.error
import av.stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fedvsr.errors import VideoError
from fedvsr.video.reading.container import open_container, start_time, video_stream
from fedvsr.video.reading.damage import CarefulDecoder, is_damaged
from fedvsr.video.reading.logged_damage import decode, logs_damage
from fedvsr.video.reading.truncation import is_cut_short

DEFAULT_FRAMES_PER_SECOND = Fraction(25)
"""The assumed frame rate of a stream that states neither a rate nor times, as in FFmpeg."""

# A seek may land behind the time that was asked for. Then a seek to this many seconds earlier is tried, and
# at last the file is read from its start.
_SEEK_MARGINS = (Fraction(0), Fraction(10))
# A recording of a broadcast may begin between key frames. Its first frames can never be decoded.
_JOINED_ANYWHERE = frozenset({"h264", "hevc", "mpeg", "mpegts", "mpegvideo", "vvc"})

_Picture = tuple[int | None, VideoFrame]


@dataclass(frozen=True)
class DecodedFrame:
    """One frame as the decoder returns it.

    Attributes:
        number: The frame's number, counted from 0 in the whole video in order of display.
        time: In seconds, on the clock of `fedvsr.video.frames.TimedFrame`.
        duration: In seconds; None if unknown.
        picture: The pixels in the video's own format.
    """

    number: int
    time: Fraction
    duration: Fraction | None
    picture: VideoFrame


class VideoFile:
    """The video stream of a local file; a context manager.

    FFmpeg is told to report every error that it notices instead of concealing it (``err_detect=explode``).
    Decoders notice most damage, but not all: changed bytes may be a valid stream of another picture.

    First, several frames are decoded at once. At the first error, the file is read again from its start with
    one frame at a time (`fedvsr.video.reading.damage`), since only then it is known which frame an error
    belongs to.
    Frames are equal in both ways.

    Args:
        path: The file.

    Attributes:
        path: The file.
        fps: Frames per second, exact; None if the file does not state them.
        frame_count: The header's number of frames, or its length times its rate; None if unknown.
        pixel_aspect: Width of a pixel divided by its height; 1 if unknown.
        bit_depth: Bits of one channel, 8..16.

    Raises:
        fedvsr.errors.VideoError: On entering, if the file is no video or has no decoder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fps: Fraction | None = None
        self.frame_count: int | None = None
        self.pixel_aspect = Fraction(1)
        self.bit_depth = 8
        self._is_part = False

    def __enter__(self) -> Self:
        self._open()
        stream, length = self._stream, self._container.duration
        # The average rate of an AVI or DV file may be the rate of its clock, so FFmpeg's guess comes first.
        rate = stream.guessed_rate or stream.average_rate
        self.fps = Fraction(rate) if rate and rate > 0 else None
        aspect = stream.sample_aspect_ratio
        self.pixel_aspect = Fraction(aspect) if aspect and aspect > 0 else Fraction(1)
        pixel_format = stream.codec_context.format
        if pixel_format is not None:
            bits = max(component.bits for component in pixel_format.components)
            self.bit_depth = min(max(bits, 8), 16)
        if self._demuxer == "avi":
            self.frame_count = len(stream.index_entries) or None
        elif stream.frames:
            self.frame_count = stream.frames
        elif length and self.fps:
            self.frame_count = round(Fraction(length, av.time_base) * self.fps) or None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.close()

    def frames(
        self, damaged: list[int] | None = None, start: Fraction = Fraction(0)
    ) -> Generator[DecodedFrame, None, None]:
        """Decodes the frames in order of display, each with a later time than the one before.

        Args:
            damaged: If not None, frames that do not decode are skipped, and their numbers are added here.
                The next frame is then the next key frame, because the frames between are predicted from the
                damaged one. If the end of the file is missing, the number of its first missing frame is
                added.
            start: Frames before this time may be left out, in seconds.

        Raises:
            fedvsr.errors.VideoError: A frame does not decode, the file ends before the end that it states,
                or no frame decodes at all.
        """
        last_time: Fraction | None = None
        try:
            for frame in self._decode_from(start):
                last_time = frame.time
                yield frame
        except _DamageFoundError:
            self._open()
            decoder = CarefulDecoder(
                self.path,
                self._container,
                self._stream,
                damaged,
                self._skips_to_key_frame,
                self._is_cut_short,
            )
            for frame in self._timed(decoder.pictures()):
                if last_time is None or frame.time > last_time:
                    yield frame

    def _open(self) -> None:
        self._container = open_container(self.path)
        try:
            self._stream = self._choose_stream()
        except VideoError:
            self._container.close()
            raise
        self._zero = start_time(self._container, self._stream)
        self._demuxer = self._container.format.name
        self._skips_to_key_frame = self._demuxer in _JOINED_ANYWHERE

    def _choose_stream(self) -> VideoStream:
        chosen = video_stream(self.path, self._container)
        for stream in self._container.streams:
            if stream is not chosen:
                stream.discard = av.stream.Discard.all
        chosen.codec_context.options = {"err_detect": "explode"}
        return chosen

    def _is_cut_short(self, end_of_last_packet: int) -> bool:
        if self._demuxer == "yuv4mpegpipe":  # the demuxer drops an incomplete frame
            return end_of_last_packet < self.path.stat().st_size
        if is_cut_short(self.path, self._demuxer):
            return True
        index = self._stream.index_entries
        if "mov" not in self._demuxer or not len(index):
            return False
        return index[-1].pos + index[-1].size > self.path.stat().st_size

    # Decoding several frames at once

    def _decode_from(self, start: Fraction) -> Iterator[DecodedFrame]:
        self._is_part = start > 0
        if start > 0:
            for margin in _SEEK_MARGINS:
                if not self._seek(start - margin):
                    break
                frames = self._timed(((None, picture) for _, picture in self._pictures()))
                with closing(frames):
                    first = next(frames, None)
                    if first is not None and first.time <= start:
                        yield first
                        yield from frames
                        return
            self._container.close()
            self._open()
        yield from self._timed(self._pictures())

    def _seek(self, time: Fraction) -> bool:
        time_base = self._stream.time_base
        if time <= 0 or time_base is None or self._stream.start_time is None:
            return False
        try:
            self._container.seek(int((time + self._zero) / time_base), stream=self._stream)
        except av.error.FFmpegError:
            return False
        return True

    def _pictures(self) -> Iterator[_Picture]:
        """Yields frames and their numbers.

        Raises:
            _DamageFoundError: The file does not decode to its end.
        """
        # After a seek, frames may lack the frames that they refer to. Of FFmpeg's threads for several frames,
        # one may then wait for ever for another, and closing the decoder hangs.
        in_order = self._is_part or logs_damage(self._stream.codec_context.name)
        self._stream.thread_type = "SLICE" if in_order else "AUTO"
        number = packets = end = 0
        joining = self._skips_to_key_frame
        size = self.path.stat().st_size
        try:
            for packet in self._container.demux(self._stream):
                if joining and packet.size and not packet.is_keyframe:
                    continue
                joining = False
                if packet.size:
                    packets += not packet.is_discard
                    end = packet.size + (packet.pos or 0)
                    if is_damaged(packet, self._demuxer, size):
                        raise _DamageFoundError
                for picture in decode(packet):
                    if picture.is_corrupt:
                        if number == 0:  # an encoder that refreshes pictures bit by bit
                            continue
                        raise _DamageFoundError
                    yield number, picture
                    number += 1
        except av.error.FFmpegError as error:
            raise _DamageFoundError from error
        # PyAV does not pass on an error if a frame came out with it. Then frames are missing.
        if number == 0 or number < packets or self._is_cut_short(end):
            raise _DamageFoundError

    # Times

    def _timed(self, pictures: Iterable[_Picture]) -> Generator[DecodedFrame, None, None]:
        """Adds numbers and times, which increase even if the file's own do not."""
        rate = self.fps or DEFAULT_FRAMES_PER_SECOND
        previous: Fraction | None = None
        for known_number, picture in pictures:
            time = self._time(picture)
            if time is None:
                time = (known_number or 0) / rate if previous is None else previous + 1 / rate
            elif previous is not None and time <= previous:
                time = previous + 1 / rate
            previous = time
            number = round(time * rate) if known_number is None else known_number
            yield DecodedFrame(number, time, self._duration(picture), picture)

    def _time(self, picture: VideoFrame) -> Fraction | None:
        if picture.pts is None or picture.time_base is None:
            return None
        # AVI stores no times of display, and FFmpeg guesses them from the order in the file.
        if self._demuxer == "avi" and self._stream.codec_context.has_b_frames:
            return None
        return picture.pts * picture.time_base - self._zero

    def _duration(self, picture: VideoFrame) -> Fraction | None:
        # AVI counts in ticks of its clock, of which a frame may take several.
        if self._demuxer == "avi":
            return 1 / self.fps if self.fps else None
        if picture.duration and picture.time_base is not None:
            return picture.duration * picture.time_base
        return None


class _DamageFoundError(Exception):
    """The decoder or demuxer reported an error while several frames were decoded at once."""
