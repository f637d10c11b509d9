"""Writes a video file: encoded frames, and the companion streams of their source between them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from fedvsr.video.frames import AnyFrames
from fedvsr.video.writing.companion_streams import CompanionStreams
from fedvsr.video.writing.matroska_aspect import (
    MUXER_OPTIONS,
    STREAM_METADATA,
    needs_display_width,
    write_display_width,
)
from fedvsr.video.writing.output_formats import PRORES
from fedvsr.video.writing.video_encoder import PacketTimer, VideoEncoder, VideoSettings

# With bitexact there is no library version and no random identifier in the file. Packets are sorted here, so
# FFmpeg need not keep seconds of them in memory to sort them.
_OPTIONS = {"fflags": "+bitexact", "max_interleave_delta": "1"}


def file_url(path: Path) -> str:
    """Returns FFmpeg's address of a file: without it, a colon in the name would end a protocol's name."""
    return f"file:{path}"


class OutputFile:
    """A video file that is being written.

    Args:
        path: The file; it is created or replaced at once.
        settings: The video's.
        companions: The other streams of the frames' source.
    """

    def __init__(self, path: Path, settings: VideoSettings, companions: CompanionStreams) -> None:
        self._container = open_output(path, settings)
        try:
            self._encoder = VideoEncoder(self._container, settings)
            self._encoder.stream.metadata.update(companions.video_metadata)
            if needs_display_width(settings):
                self._encoder.stream.metadata.update(STREAM_METADATA)
            companions.add_to(self._container)
        except BaseException:
            self._container.close()
            raise
        self._path = path
        self._settings = settings
        self._timer = PacketTimer(settings)
        self._companions = companions
        self._encodes = False

    def write(self, frame: AnyFrames, ticks: int) -> None:
        """Encodes a frame, shown at a time in the video's time base."""
        self._encodes = True
        ticks = self._timer.add_time(ticks)
        self._mux(self._timer.add_packets(self._encoder.encode(frame, ticks)))

    def add_segment(self, ticks: Iterable[int], packets: "Iterator[Packet[VideoStream]]") -> None:
        """Copies the packets of a segment, whose frames are shown at times in the video's time base."""
        for time in ticks:
            self._timer.add_time(time)
        for packet in packets:
            self._mux(self._timer.add_packets([packet]))

    def finish(self, duration: int) -> None:
        """Completes the file; the last frame is shown for a duration in the video's time base."""
        if self._encodes:
            self._mux(self._timer.add_packets(self._encoder.flush()))
        self._mux(self._timer.end(duration))
        for packet in self._companions.packets_until(None):
            self._container.mux(packet)
        self._container.close()
        if needs_display_width(self._settings):
            write_display_width(self._path, self._settings)

    def abandon(self) -> None:
        """Closes the file; it is not complete."""
        try:
            self._container.close()
        except (OSError, av.FFmpegError):
            # The error that ended the writing is the one to report.
            return

    def _mux(self, packets: "Iterator[Packet[VideoStream]]") -> None:
        for packet in packets:
            packet.stream = self._encoder.stream
            packet.time_base = self._settings.time_base
            time = cast("int", packet.dts) * self._settings.time_base
            for companion in self._companions.packets_until(time):
                self._container.mux(companion)
            self._container.mux(packet)


def open_output(path: Path, settings: VideoSettings) -> OutputContainer:
    """Opens a file for writing, in the settings' container."""
    muxer = settings.output_format.container
    options = dict(_OPTIONS)
    if muxer in ("mp4", "mov"):
        # The index comes first, so that a browser plays while it loads.
        options |= {"movflags": "+faststart", **_edit_list_options(settings)}
    if needs_display_width(settings):
        options |= MUXER_OPTIONS
    return av.open(file_url(path), "w", format=muxer, options=options)


def open_segment(path: Path, settings: VideoSettings) -> OutputContainer:
    """Opens a segment for writing, in a container that holds the encoder's packets unchanged."""
    if settings.output_format.codec == PRORES:
        # NUT does not hold ProRes.
        return av.open(file_url(path), "w", format="mov", options=_OPTIONS | _edit_list_options(settings))
    # NUT stores no decoding times, so negative ones are no reason to move the frames.
    return av.open(file_url(path), "w", format="nut", options=_OPTIONS | {"avoid_negative_ts": "disabled"})


def _edit_list_options(settings: VideoSettings) -> dict[str, str]:
    # Edit lists say when the video starts: in its own time unit, not in milliseconds.
    return {"movie_timescale": str(settings.time_base.denominator)}
