"""Decodes a damaged file one frame at a time, to tell which frames do not decode."""

from bisect import insort
from collections.abc import Iterator
from pathlib import Path

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fedvsr.errors import VideoError

# A demuxer that fails this often in a row will not go on.
_MAX_DEMUX_ERRORS = 3


class CarefulDecoder:
    """Decodes a stream from its start in one thread per frame.

    Frames that depend on a damaged one are lost with it: decoding goes on at the next key frame, with an
    empty decoder, so no pixel comes from memory that the decoder did not write.

    Args:
        path: The file, for error messages.
        container: The opened file, at its start.
        stream: The video stream, whose decoder is not open yet.
        damaged: Receives the numbers of lost frames. If None, the first one is an error.
        skip_to_key_frame: Whether packets before the first key frame are no damage.
    """

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: VideoStream,
        damaged: list[int] | None,
        skip_to_key_frame: bool,
    ) -> None:
        self._path = path
        self._container = container
        self._stream = stream
        self._damaged = damaged
        self._number = 0
        self._lost_times: list[int] = []
        self._lost_without_time = 0
        self._error = ""
        self._await_key_frame = skip_to_key_frame
        self._key_frame_time: int | None = None
        self._counts_lost = not skip_to_key_frame

    def pictures(self, cut_short: bool) -> Iterator[tuple[int, VideoFrame]]:
        """Yields the frames that decode, and their numbers.

        Args:
            cut_short: Whether the file ends before the end that its container states.

        Raises:
            fedvsr.errors.VideoError: A frame is lost and ``damaged`` is None, or no frame decodes.
        """
        self._stream.thread_type = "SLICE"
        decoded = 0
        for packet in self._packets():
            for picture in self._decode(packet):
                if picture.is_corrupt:
                    if decoded:
                        self._lose(picture.pts)
                    continue
                self._report_lost(before=picture.pts)
                decoded += 1
                yield self._number, picture
                self._number += 1
        self._report_lost(before=None)
        if decoded == 0:
            raise VideoError(
                f"{self._path}: no frame can be decoded{self._error}; the file is corrupt or cut short, so "
                "copy it again or re-encode it"
            )
        if cut_short:
            self._report("the file is cut short, and frame {number} and those after it are missing")

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        errors = 0
        while errors < _MAX_DEMUX_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    yield packet
            except av.error.FFmpegError as error:
                errors += 1
                self._note(error)
                self._lose(None)
            else:
                return

    def _decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        if packet.size and self._is_skipped(packet):
            if self._counts_lost and not packet.is_discard:
                self._lose(packet.pts)
            return []
        try:
            pictures = [] if packet.is_corrupt else packet.decode()
        except av.error.FFmpegError as error:
            self._note(error)
            pictures = None
        if pictures is not None and not packet.is_corrupt:
            return pictures
        pictures = self._drain()
        self._lose(packet.pts)
        self._await_key_frame = self._counts_lost = True
        return [picture for picture in pictures if picture.pts is None or picture.pts != packet.pts]

    def _is_skipped(self, packet: "Packet[VideoStream]") -> bool:
        """Returns whether a packet needs a frame that was lost."""
        if packet.is_keyframe:
            self._key_frame_time = packet.pts if self._await_key_frame else None
            self._await_key_frame = False
            return False
        if self._await_key_frame:
            return True
        # Frames between a lost frame and a key frame may follow the key frame in the file.
        if packet.pts is None or self._key_frame_time is None:
            return False
        return packet.pts < self._key_frame_time

    def _drain(self) -> list[VideoFrame]:
        """Empties the decoder and returns the frames that were complete."""
        pictures = []
        try:
            pictures = self._stream.codec_context.decode(None)
        except av.error.FFmpegError as error:
            self._note(error)
        self._stream.codec_context.flush_buffers()
        return pictures

    def _note(self, error: av.error.FFmpegError) -> None:
        self._error = f" ({error.strerror})"

    # Lost frames

    def _lose(self, time: int | None) -> None:
        if time is None:
            self._lost_without_time += 1
        else:
            insort(self._lost_times, time)

    def _report_lost(self, before: int | None) -> None:
        """Reports the lost frames that are shown before a time, or all."""
        while self._lost_without_time or (
            self._lost_times and (before is None or self._lost_times[0] < before)
        ):
            if self._lost_without_time:
                self._lost_without_time -= 1
            else:
                self._lost_times.pop(0)
            self._report("frame {number} cannot be decoded" + self._error)
            self._number += 1

    def _report(self, problem: str) -> None:
        if self._damaged is None:
            raise VideoError(
                f"{self._path}: {problem.format(number=self._number)}; the file is damaged or cut short, so "
                "copy it again, or skip damaged frames"
            )
        self._damaged.append(self._number)
