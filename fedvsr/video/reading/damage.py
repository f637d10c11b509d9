"""Decodes a damaged file one frame at a time, to tell which frames do not decode."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fedvsr.errors import VideoError
from fedvsr.video.reading.logged_damage import decode

# A demuxer that fails this often in a row will not go on.
_MAX_DEMUX_ERRORS = 3
# FFmpeg's formats without any structure between frames: a frame that is cut short is not noticed.
_WITHOUT_STRUCTURE = frozenset({"dv", "yuv4mpegpipe"})


def is_damaged(packet: "Packet[VideoStream]", demuxer: str, file_size: int) -> bool:
    """Returns whether the demuxer knows that a packet is damaged or cut short."""
    if packet.is_corrupt:
        return True
    return demuxer in _WITHOUT_STRUCTURE and packet.pos is not None and packet.pos + packet.size > file_size


class CarefulDecoder:
    """Decodes a stream from its start in one thread, so that an error belongs to the packet just decoded.

    Frames that depend on a damaged one are lost with it: decoding goes on at the next key frame, with an
    empty decoder, so no pixel comes from memory that the decoder did not write.

    Args:
        path: The file, for error messages.
        container: The opened file, at its start.
        stream: The video stream, whose decoder is not open yet.
        damaged: Receives the numbers of lost frames. If None, the first one is an error.
        skip_to_key_frame: Whether packets before the first key frame are no damage.
        is_cut_short: Tells from the end of the last packet in the file, in bytes, whether the file ends too
            early.
    """

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: VideoStream,
        damaged: list[int] | None,
        skip_to_key_frame: bool,
        is_cut_short: Callable[[int], bool],
    ) -> None:
        self._path = path
        self._container = container
        self._stream = stream
        self._damaged = damaged
        self._is_cut_short = is_cut_short
        self._end_of_last_packet = 0
        self._number = 0
        self._error = ""
        self._awaits_key_frame = skip_to_key_frame
        self._counts_skipped = not skip_to_key_frame
        self._key_frame_time: int | None = None
        self._pending: set[int] = set()  # times of the packets whose frames have not come out
        self._lost: set[int] = set()
        self._lost_without_time = 0
        self._packets: list[Packet[VideoStream]] = []  # since the last key frame but one
        self._key_frame_position = 0

    def pictures(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yields the frames that decode, and their numbers.

        Raises:
            fedvsr.errors.VideoError: A frame is lost and ``damaged`` is None, or no frame decodes.
        """
        self._stream.thread_type = "SLICE"
        self._stream.thread_count = 1
        last_time: int | None = None
        decoded = 0
        for packet in self._demux():
            for picture in self._decode(packet, last_time):
                if picture.is_corrupt:
                    if decoded:
                        self._lose(picture.pts)
                    continue
                self._report_lost(before=picture.pts)
                decoded += 1
                yield self._number, picture
                self._number += 1
                if picture.pts is not None:
                    last_time = picture.pts
                    self._pending.discard(last_time)
        self._report_lost(before=None)
        if decoded == 0:
            raise VideoError(
                f"{self._path}: no frame can be decoded{self._error}; the file is corrupt or cut short, so "
                "copy it again or re-encode it"
            )
        if self._is_cut_short(self._end_of_last_packet):
            self._report("the file is cut short, and frame {number} and those after it are missing")

    def _demux(self) -> Iterator["Packet[VideoStream]"]:
        errors = 0
        while errors < _MAX_DEMUX_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    if packet.size:
                        self._end_of_last_packet = packet.size + (packet.pos or 0)
                    yield packet
            except av.error.FFmpegError as error:
                errors += 1
                self._note(error)
                self._lose(None)
            else:
                return

    def _decode(self, packet: "Packet[VideoStream]", last_time: int | None) -> list[VideoFrame]:
        if packet.size and self._is_skipped(packet):
            if self._counts_skipped and not packet.is_discard:
                self._lose(packet.pts)
            return []
        try:
            if packet.size and is_damaged(packet, self._container.format.name, self._path.stat().st_size):
                raise av.error.InvalidDataError(0, "the file is cut short or bytes are missing")
            pictures = decode(packet)
        except av.error.FFmpegError as error:
            self._note(error)
            return self._recover(packet, last_time)
        self._packets.append(packet)
        if packet.size and packet.pts is not None and not packet.is_discard:
            self._pending.add(packet.pts)
        return pictures

    def _is_skipped(self, packet: "Packet[VideoStream]") -> bool:
        """Returns whether a packet needs a frame that was lost."""
        if packet.is_keyframe:
            self._key_frame_time = packet.pts if self._awaits_key_frame else None
            self._awaits_key_frame = False
            self._packets = self._packets[self._key_frame_position :]
            self._key_frame_position = len(self._packets)
            return False
        if self._awaits_key_frame:
            return True
        # Frames between a lost frame and a key frame may follow the key frame in the file.
        if packet.pts is None or self._key_frame_time is None:
            return False
        return packet.pts < self._key_frame_time

    def _recover(self, damaged: "Packet[VideoStream]", last_time: int | None) -> list[VideoFrame]:
        """Empties the decoder, and returns the frames before a damaged packet that have not come out."""
        decoder = self._stream.codec_context
        pictures: list[VideoFrame] = []
        if damaged.pts is None:
            with suppress(av.error.FFmpegError):
                pictures = decoder.decode(None)
        else:
            # The error may have cost the decoder a frame that was complete, so the packets before it are
            # decoded once more.
            decoder.flush_buffers()
            for packet in (*self._packets, None):
                with suppress(av.error.FFmpegError):
                    pictures += decoder.decode(packet)
            pictures = [
                picture
                for picture in pictures
                if picture.pts in self._pending and (last_time is None or picture.pts > last_time)
            ]
        decoder.flush_buffers()
        self._lose(damaged.pts)
        self._lost |= self._pending - {picture.pts for picture in pictures}
        self._pending.clear()
        self._packets.clear()
        self._key_frame_position = 0
        self._awaits_key_frame = self._counts_skipped = True
        return pictures

    def _note(self, error: av.error.FFmpegError) -> None:
        self._error = f" ({error.strerror})"

    # Lost frames

    def _lose(self, time: int | None) -> None:
        if time is None:
            self._lost_without_time += 1
        else:
            self._lost.add(time)

    def _report_lost(self, before: int | None) -> None:
        """Reports the lost frames that are shown before a time, or all."""
        times = {time for time in self._lost if before is None or time < before}
        for _ in range(len(times) + self._lost_without_time):
            self._report("frame {number} cannot be decoded" + self._error)
            self._number += 1
        self._lost -= times
        self._lost_without_time = 0

    def _report(self, problem: str) -> None:
        if self._damaged is None:
            raise VideoError(
                f"{self._path}: {problem.format(number=self._number)}; the file is damaged or cut short, so "
                "copy it again, or skip damaged frames"
            )
        self._damaged.append(self._number)
