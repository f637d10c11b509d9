"""One companion stream each: copied packet by packet, or encoded again because the container demands it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

_BITS_PER_SECOND_AND_CHANNEL = 96_000
_SUBTITLE_TIME_BASE = Fraction(1, 1000)


@dataclass(frozen=True)
class Part:
    """The part of a source that is written.

    Attributes:
        offset: The source's time at which the output begins, in seconds, as its packets have it.
        is_cut: Whether the source begins earlier. If not, sound before 0 is a codec's run-up and is kept.
        duration: How long the part lasts in seconds; None for all of the rest.
    """

    offset: Fraction
    is_cut: bool
    duration: Fraction | None

    def is_before(self, end: Fraction) -> bool:
        """Whether what ends at an output time is not in the part."""
        return self.is_cut and end <= 0

    def is_after(self, start: Fraction) -> bool:
        """Whether what begins at an output time is not in the part."""
        return self.duration is not None and start >= self.duration


class Track(Protocol):
    """Turns the packets of one stream of the source into packets of the output."""

    source: Stream
    ended: bool

    def add_to(self, container: OutputContainer) -> None:
        """Adds the stream to an output without a written header."""

    def convert(self, packet: "Packet[Stream]") -> "Iterator[Packet[Stream]]":
        """Yields the packets of the output for one of the source."""

    def flush(self) -> "Iterator[Packet[Stream]]":
        """Yields the last packets."""


def copy_description(source: Stream, target: Stream) -> None:
    """Copies language, title and disposition."""
    metadata = carried_metadata(source.metadata)
    if "name" in metadata:
        # FFmpeg reads the title of a track in MP4 as its name, and writes its title as its name.
        metadata.setdefault("title", metadata.pop("name"))
    target.metadata.update(metadata)
    target.disposition = source.disposition


def carried_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Returns the metadata that is also true of the new file.

    What describes the old file is left out: its brands, encoder, statistics, time code and rotation. The new
    frames are already rotated.
    """
    return {name: value for name, value in metadata.items() if not _describes_file(name.lower())}


def _describes_file(name: str) -> bool:
    # Matroska's statistics may have a language at the end: BPS-eng.
    return name.startswith("_statistics") or name.partition("-")[0] in (
        "alpha_mode",
        "bps",
        "compatible_brands",
        "duration",
        "encoder",
        "major_brand",
        "minor_version",
        "number_of_bytes",
        "number_of_frames",
        "rotate",
        "software",
        "timecode",
        "vendor_id",
    )


class _SampleClock:
    """Refines coarse times of sound: Matroska has milliseconds, MP4 counts samples.

    Args:
        source: A stream of sound.
    """

    def __init__(self, source: AudioStream) -> None:
        context = source.codec_context
        self._unit = Fraction(1, context.sample_rate) if context and context.sample_rate else None
        self._frame_size = context.frame_size if context else 0
        self._expected: Fraction | None = None

    def refine(
        self, time: Fraction, duration: Fraction, unit: Fraction
    ) -> tuple[Fraction, Fraction, Fraction]:
        """Returns a packet's time, duration and time base, which is the same for all packets of a stream."""
        if self._unit is None or unit <= self._unit or self._frame_size == 0:
            return time, duration, unit
        if self._expected is None or abs(time - self._expected) > unit:
            time = round(time / self._unit) * self._unit
        else:
            time = self._expected
        exact = self._frame_size * self._unit
        # Another duration is that of the last packet, or of a codec whose packets differ in length.
        has_frame_size = abs(duration - exact) <= unit
        self._expected = time + exact if has_frame_size else None
        return time, exact if has_frame_size else duration, self._unit


class CopiedTrack:
    """Copies packets without encoding them again.

    Args:
        source: A stream of sound, subtitles or a cover picture.
        part: The part of the source that is written.
    """

    def __init__(self, source: Stream, part: Part) -> None:
        self.source = source
        self.ended = False
        self._part = part
        self._target: Stream | None = None
        self._last_dts: int | None = None
        self._expected: Fraction | None = None
        self._clock = _SampleClock(source) if isinstance(source, AudioStream) else None

    def add_to(self, container: OutputContainer) -> None:
        self._target = container.add_stream_from_template(self.source, opaque=True)
        copy_description(self.source, self._target)

    def convert(self, packet: "Packet[Stream]") -> "Iterator[Packet[Stream]]":
        assert self._target is not None
        unit = packet.time_base
        duration = (packet.duration or 0) * unit
        stamp = packet.dts if packet.pts is None else packet.pts
        # AVI and raw streams leave times out; then a packet follows the one before.
        time = (self._expected or Fraction(0)) if stamp is None else stamp * unit - self._part.offset
        self._expected = time + duration
        if self._part.is_after(time):
            self.ended = True
            return
        is_subtitle = self.source.type == "subtitle"
        # A subtitle may begin before the part. Sound that does is left out: packets cannot be cut.
        if self._part.is_before(time + duration if is_subtitle else time + unit / 2):
            return
        if is_subtitle and self._part.is_cut:
            time, duration = self._clip(time, duration)
        if self._clock is not None:
            time, duration, unit = self._clock.refine(time, duration, unit)
            packet.time_base = unit
        packet.pts = round(time / unit)
        # Containers demand that times grow. Damaged or coarse ones are moved by one unit.
        packet.dts = packet.pts if self._last_dts is None else max(packet.pts, self._last_dts + 1)
        packet.pts = max(packet.pts, packet.dts)
        packet.duration = round(duration / unit)
        self._last_dts = packet.dts
        packet.stream = self._target
        yield packet

    def flush(self) -> "Iterator[Packet[Stream]]":
        return iter(())

    def _clip(self, time: Fraction, duration: Fraction) -> tuple[Fraction, Fraction]:
        start = max(time, Fraction(0))
        end = time + duration
        return start, (end if self._part.duration is None else min(end, self._part.duration)) - start


class EncodedAudioTrack:
    """Decodes sound and encodes it with another codec.

    Args:
        source: A stream of sound.
        part: The part of the source that is written.
        encoder: FFmpeg's name of the encoder.
    """

    def __init__(self, source: AudioStream, part: Part, encoder: str) -> None:
        self.source: Stream = source
        self.ended = False
        self.damaged_packets = 0
        self._part = part
        self._encoder = encoder
        self._decoder: AudioCodecContext = source.codec_context
        if self._decoder.layout.name.endswith(" channels") and not self._decoder.is_open:
            # A file may state a number of channels, not where they are. Then they are at the usual places.
            self._decoder.layout = AudioLayout(f"{self._decoder.layout.nb_channels}c")
        self._target: AudioStream | None = None
        self._graph: Graph | None = None
        self._expected: Fraction | None = None

    def add_to(self, container: OutputContainer) -> None:
        rate = self._decoder.sample_rate
        codec = av.Codec(self._encoder, "w")
        rates = codec.audio_rates
        if rates and rate not in rates:
            rate = 48_000
        target = cast("AudioStream", container.add_stream(self._encoder, rate=rate))
        context = target.codec_context
        context.layout = self._decoder.layout
        context.time_base = Fraction(1, rate)
        context.flags |= Flags.bitexact
        if self._encoder not in ("flac", "pcm_s16le"):
            context.bit_rate = _BITS_PER_SECOND_AND_CHANNEL * self._decoder.layout.nb_channels
        copy_description(self.source, target)
        self._target = target

    def convert(self, packet: "Packet[Stream]") -> "Iterator[Packet[Stream]]":
        try:
            frames = self._decoder.decode(cast("Packet[AudioStream]", packet))
        except av.InvalidDataError:
            # The filter fills the gap with silence.
            self.damaged_packets += 1
            return
        for frame in frames:
            unit = cast("Fraction", frame.time_base)
            if frame.pts is None:
                time = self._expected or Fraction(0)
            else:
                time = frame.pts * unit - self._part.offset
            self._expected = time + Fraction(frame.samples, frame.sample_rate)
            if self._part.is_after(time):
                self.ended = True
                return
            if self._graph is None:
                self._graph = self._make_graph(frame)
            frame.pts = round(time / unit)
            self._graph.push(frame)
            yield from self._encode()

    def flush(self) -> "Iterator[Packet[Stream]]":
        if self._graph is None:
            return
        assert self._target is not None
        self._graph.push(None)
        yield from self._encode()
        yield from self._target.encode(None)

    def _encode(self) -> "Iterator[Packet[Stream]]":
        assert self._graph is not None
        assert self._target is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield from self._target.encode(cast("AudioFrame", frame))

    def _make_graph(self, frame: AudioFrame) -> Graph:
        assert self._target is not None
        context = self._target.codec_context
        if not context.is_open:
            context.open()
        graph = Graph()
        end = "" if self._part.duration is None else f":end={float(self._part.duration)}"
        nodes = (
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format,
                layout=frame.layout,
                time_base=frame.time_base,
            ),
            graph.add("atrim", f"start=0{end}"),
            # Gaps become silence, so the sound stays in time with the picture.
            graph.add("aresample", "async=1"),
            graph.add(
                "aformat",
                f"sample_fmts={context.format.name}:sample_rates={context.sample_rate}"
                f":channel_layouts={context.layout.name}",
            ),
            graph.add("abuffersink"),
        )
        graph.link_nodes(*nodes).configure()
        if context.frame_size > 0:
            graph.set_audio_frame_size(context.frame_size)
        return graph


class EncodedSubtitleTrack:
    """Converts subtitles of text to another format of text.

    Args:
        source: A stream of subtitles of text.
        part: The part of the source that is written.
        encoder: FFmpeg's name of the encoder.
    """

    def __init__(self, source: SubtitleStream, part: Part, encoder: str) -> None:
        self.source: Stream = source
        self.ended = False
        self._part = part
        self._encoder = encoder
        self._decoder = source.codec_context
        self._target: SubtitleStream | None = None

    def add_to(self, container: OutputContainer) -> None:
        if not self._decoder.is_open:
            self._decoder.open()
        target = cast("SubtitleStream", container.add_stream(self._encoder))
        context = target.codec_context
        # The encoder reads the styles of the decoded text here.
        context.subtitle_header = self._decoder.subtitle_header
        context.time_base = _SUBTITLE_TIME_BASE
        target.time_base = _SUBTITLE_TIME_BASE
        copy_description(self.source, target)
        self._target = target

    def convert(self, packet: "Packet[Stream]") -> "Iterator[Packet[Stream]]":
        assert self._target is not None
        if packet.pts is None:
            return
        time = packet.pts * packet.time_base - self._part.offset
        end = time + (packet.duration or 0) * packet.time_base
        if self._part.is_after(time):
            self.ended = True
            return
        if self._part.is_before(end):
            return
        subtitle = self._decoder.decode2(cast("Packet[SubtitleStream]", packet))
        if subtitle is None:
            return
        time = max(time, Fraction(0))
        end = end if self._part.duration is None else min(end, self._part.duration)
        converted = self._target.codec_context.encode_subtitle(subtitle)
        converted.time_base = _SUBTITLE_TIME_BASE
        converted.pts = converted.dts = round(time / _SUBTITLE_TIME_BASE)
        converted.duration = round((end - time) / _SUBTITLE_TIME_BASE)
        result = cast("Packet[Stream]", converted)
        result.stream = self._target
        yield result

    def flush(self) -> "Iterator[Packet[Stream]]":
        return iter(())
