"""The streams of a video's source that go along with its new frames: sound, subtitles, chapters, metadata."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
from av.audio.stream import AudioStream
from av.codec.codec import Properties
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from fedvsr.errors import VideoError
from fedvsr.video.writing.companion_tracks import (
    CopiedTrack,
    EncodedAudioTrack,
    EncodedSubtitleTrack,
    Part,
    Track,
    carried_metadata,
)
from fedvsr.video.writing.output_formats import OutputFormat

if TYPE_CHECKING:
    from av.container.core import Chapter

# What players of a container play. Matroska is not here: it holds what FFmpeg's muxer accepts.
_COPIED_AUDIO = {
    "mp4": ("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"),
    "mov": ("aac", "ac3", "alac", "eac3", "mp3", "pcm_"),
    "webm": ("opus", "vorbis"),
    "avi": ("ac3", "mp2", "mp3", "pcm_s16le", "pcm_u8"),
}
_ENCODED_AUDIO = {"mp4": "aac", "mov": "aac", "matroska": "flac", "webm": "libopus", "avi": "pcm_s16le"}
_COPIED_SUBTITLES = {
    "mp4": ("mov_text",),
    "mov": ("mov_text",),
    "matroska": ("ass", "dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "ssa", "subrip", "webvtt"),
    "webm": ("webvtt",),
}
_ENCODED_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_HOLDS_COVERS = ("mp4", "mov", "matroska")
_HOLDS_CHAPTERS = ("mp4", "mov", "matroska", "webm")


class CompanionStreams:
    """Reads the streams of a source that go along, in step with the new video.

    Args:
        source: The file that the frames are from; None or a folder has no such streams.
        output_format: How the new video is written.
        start: Where in the source the frames start, in seconds from the start of its first stream.
        duration: How long the part of the source lasts, in seconds; None for all of the rest.

    Attributes:
        notes: What does not go along, or is encoded again, in sentences.
        video_metadata: The metadata of the source's video stream.

    Raises:
        fedvsr.errors.VideoError: The source cannot be opened.
    """

    def __init__(
        self, source: Path | None, output_format: OutputFormat, start: Fraction, duration: Fraction | None
    ) -> None:
        self.notes: list[str] = []
        self.video_metadata: dict[str, str] = {}
        self._muxer = output_format.container
        self._tracks: dict[int, Track] = {}
        self._covers: list[Stream] = []
        self._ready: deque[tuple[Fraction, Packet[Stream]]] = deque()
        self._source: InputContainer | None = None
        self._packets: Iterator[Packet[Stream]] = iter(())
        if source is None or source.is_dir():
            return
        self._path = source
        try:
            self._source = av.open(f"file:{source}")
        except av.FFmpegError as error:
            raise VideoError(
                f"{source}: its sound cannot be read ({error.strerror}); leave out the sound"
            ) from error
        begin = Fraction(self._source.start_time or 0, av.time_base)
        self._part = Part(begin + start, start > 0, duration)
        self._plan(self._source)

    def add_to(self, container: OutputContainer) -> None:
        """Adds the streams, chapters and metadata to an output without a written header."""
        if self._source is None:
            return
        for track in self._tracks.values():
            track.add_to(container)
        container.metadata.update(carried_metadata(self._source.metadata))
        if self._muxer in _HOLDS_CHAPTERS:
            container.set_chapters(self._chapters(self._source))
        if self._muxer == "matroska":
            self._add_attachments(container, self._source)
        self._packets = self._source.demux([track.source for track in self._tracks.values()])

    def packets_until(self, time: Fraction | None) -> "Iterator[Packet[Stream]]":
        """Yields the packets up to a time of the output in seconds; None for all the rest."""
        while True:
            while self._ready and (time is None or self._ready[0][0] <= time):
                yield self._ready.popleft()[1]
            if self._ready or not self._read():
                return

    def close(self) -> None:
        """Closes the source."""
        self._packets = iter(())
        if self._source is not None:
            self._source.close()

    def _read(self) -> bool:
        """Reads the source until packets are ready; False at its end, or at the part's."""
        while not self._ready and not all(track.ended for track in self._tracks.values()):
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                self.notes.append(f"{self._path}: its sound and subtitles end where reading failed: {error}")
                packet = None
            if packet is None:
                break
            self._convert(packet)
        if not self._ready:
            for track in self._tracks.values():
                self._add_ready(track.flush())
                track.ended = True
                if isinstance(track, EncodedAudioTrack) and track.damaged_packets:
                    self.notes.append(
                        f"{track.damaged_packets} packets of the audio stream {track.source.index} do not "
                        "decode; there is silence in their place."
                    )
            self._tracks = {}
        return bool(self._ready)

    def _convert(self, packet: "Packet[Stream]") -> None:
        track = self._tracks[packet.stream.index]
        # PyAV ends each stream with an empty packet.
        if not track.ended and packet.size:
            self._add_ready(track.convert(packet))

    def _add_ready(self, packets: "Iterator[Packet[Stream]]") -> None:
        for packet in packets:
            self._ready.append((cast("int", packet.dts) * packet.time_base, packet))

    def _plan(self, source: InputContainer) -> None:
        """Chooses what happens to each stream."""
        video = next((stream for stream in source.streams.video if not _is_cover(stream)), None)
        if video is not None:
            self.video_metadata = carried_metadata(video.metadata)
        for stream in source.streams:
            if stream is video:
                stream.discard = Discard.all
                continue
            track = self._track(stream)
            if track is None:
                stream.discard = Discard.all
            else:
                self._tracks[stream.index] = track
        if source.chapters() and self._muxer not in _HOLDS_CHAPTERS:
            self.notes.append(f"The chapters were left out: {self._muxer} does not hold chapters; .mkv does.")

    def _track(self, stream: Stream) -> Track | None:
        if isinstance(stream, AudioStream):
            return self._audio_track(stream)
        if isinstance(stream, SubtitleStream):
            return self._subtitle_track(stream)
        if _is_cover(stream):
            return self._cover_track(stream)
        if isinstance(stream, AttachmentStream):
            if self._muxer != "matroska":
                self._leave_out(stream, "; .mkv holds it")
        elif stream.type != "data" or not _is_chapter_text(stream):
            self._leave_out(stream, "")
        return None

    def _audio_track(self, stream: AudioStream) -> Track | None:
        copied = CopiedTrack(stream, self._part)
        codec = _codec_name(stream)
        prefixes = _COPIED_AUDIO.get(self._muxer, ("",))
        if codec.startswith(prefixes) and self._accepts(copied):
            return copied
        encoder = _ENCODED_AUDIO[self._muxer]
        encoded = EncodedAudioTrack(stream, self._part, encoder) if codec else None
        if encoded is None or not self._accepts(encoded):
            self._leave_out(stream, f": it cannot be decoded, and {self._muxer} does not hold it")
            return None
        self.notes.append(
            f"The sound of stream {stream.index} ({codec}) was encoded to {encoder.removeprefix('lib')}: "
            f"players of {self._muxer} expect it."
        )
        return encoded

    def _subtitle_track(self, stream: SubtitleStream) -> Track | None:
        copied = CopiedTrack(stream, self._part)
        codec = _codec_name(stream)
        if codec in _COPIED_SUBTITLES.get(self._muxer, ()) and self._accepts(copied):
            return copied
        encoder = _ENCODED_SUBTITLES.get(self._muxer)
        if encoder is None or not codec:
            self._leave_out(stream, f": {self._muxer} does not hold subtitles; .mkv does")
            return None
        if not Properties(stream.codec_context.codec.properties) & Properties.TEXT_SUB:
            self._leave_out(stream, f": {self._muxer} does not hold subtitles of pictures; .mkv does")
            return None
        encoded = EncodedSubtitleTrack(stream, self._part, encoder)
        if not self._accepts(encoded):
            self._leave_out(stream, f": they cannot be converted for {self._muxer}; .mkv holds them")
            return None
        self.notes.append(
            f"The subtitles of stream {stream.index} ({codec}) were converted to {encoder}: "
            f"{self._muxer} demands it."
        )
        return encoded

    def _cover_track(self, stream: Stream) -> Track | None:
        if self._muxer not in _HOLDS_COVERS:
            self._leave_out(stream, f": {self._muxer} does not hold a cover picture; .mkv does")
            return None
        if self._muxer == "matroska":
            self._covers.append(stream)
            return None
        track = CopiedTrack(stream, Part(Fraction(0), False, None))
        if not self._accepts(track):
            self._leave_out(stream, f": {self._muxer} does not hold it; .mkv does")
            return None
        return track

    def _leave_out(self, stream: Stream, reason: str) -> None:
        name = _codec_name(stream) or getattr(stream, "name", None) or "unknown"
        self.notes.append(f"The {stream.type} stream {stream.index} ({name}) was left out{reason}.")

    def _accepts(self, track: Track) -> bool:
        """Whether the container holds a track: tried with a file in memory that has no other."""
        container = av.open(BytesIO(), "w", format=self._muxer)
        try:
            track.add_to(container)
            container.start_encoding()
        except (av.FFmpegError, ValueError):
            return False
        finally:
            # Some codecs cannot end without a packet. The header is what counts.
            with suppress(av.FFmpegError):
                container.close()
        return True

    def _chapters(self, source: InputContainer) -> "list[Chapter]":
        chapters: list[Chapter] = []
        for chapter in source.chapters():
            unit = chapter["time_base"] or Fraction(1, av.time_base)
            start = chapter["start"] * unit - self._part.offset
            end = chapter["end"] * unit - self._part.offset
            if end <= 0 or self._part.is_after(start):
                continue
            end = end if self._part.duration is None else min(end, self._part.duration)
            chapters.append(
                {
                    "id": chapter["id"],
                    "start": round(max(start, Fraction(0)) / unit),
                    "end": round(end / unit),
                    "time_base": unit,
                    "metadata": chapter["metadata"],
                }
            )
        return chapters

    def _add_attachments(self, container: OutputContainer, source: InputContainer) -> None:
        for stream in source.streams:
            if isinstance(stream, AttachmentStream):
                container.add_attachment(
                    stream.name or f"attachment-{stream.index}",
                    stream.mimetype or "application/octet-stream",
                    stream.data,
                )
        for stream in self._covers:
            kind = "png" if _codec_name(stream) == "png" else "jpeg"
            container.add_attachment(
                stream.metadata.get("filename", f"cover.{kind.replace('e', '')}"),
                stream.metadata.get("mimetype", f"image/{kind}"),
                _read_cover(self._path, stream.index),
            )


def _is_cover(stream: Stream) -> bool:
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def _is_chapter_text(stream: Stream) -> bool:
    """Whether a stream is the text track in which QuickTime keeps the names of chapters."""
    return stream.name == "bin_data"


def _codec_name(stream: Stream) -> str:
    """Returns FFmpeg's name of a stream's codec; empty if there is no decoder for it."""
    # The decoder's name is not always the codec's: libdav1d decodes av1.
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def _read_cover(source: Path, index: int) -> bytes:
    with av.open(f"file:{source}") as container:
        for packet in container.demux(container.streams[index]):
            if packet.size:
                return bytes(packet)
    return b""
