"""Encodes RGB frames: colour conversion, an encoder's settings, and the times of its packets."""

import math
import os
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import cast

# SVT-AV1 reads this when it is first used. It would print its settings on stderr.
os.environ.setdefault("SVT_LOG", "0")

import av
import numpy as np
from av.codec.context import Flags, ThreadType
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from av.video.stream import VideoStream

from fedvsr.video.frames import AnyFrames, Frames
from fedvsr.video.writing.output_formats import CODECS, FFV1, H264, H265, PRORES, OutputFormat

# The times of a file are multiples of 1 / (k × frames per second), with k such that the unit is not longer
# than this. So constant rates are exact, and variable ones have an error of 5 µs at most.
_MAX_TIME_UNIT = Fraction(1, 90_000)

# BT.709 is the standard of HD, BT.601 that of SD; players assume the same sizes for a file without tags.
MIN_HD_HEIGHT = 720
MIN_HD_WIDTH = 1280

# The number of threads changes the bytes that these encoders write, so it is not the machine's.
_X264_THREADS = 8
_X265_FRAME_THREADS = 2

# x264 and x265 keep frames in memory to look ahead, and one frame or more for each thread. 40 frames, their
# default, are 0.2 GB at 1080p and would be 13 GB at 15360×8640.
_MAX_LOOKAHEAD_PIXELS = 40 * 1920 * 1080
_MAX_FRAME_THREADS_PIXELS = 2560 * 1440
# Beyond 8K, x264 may not keep four interpolated versions of a reference: 1.4 GB instead of 2.1 at 15360×8640.
_MAX_8K_PIXELS = 8192 * 4608
# Frames that are predicted from later ones, and the presets that choose them, need so many frames.
_MIN_LOOKAHEAD = 5
_PRESETS_WITHOUT_LOOKAHEAD = ("ultrafast", "superfast")

# Each core encodes a slice of an FFV1 frame. Small frames have too few pixels for so many.
_FFV1_SLICES = 16
# FFV1 refuses slices of too many pixels: 256 million pixels of 16 bits need 100.
_FFV1_SLICES_BEYOND_8K = 100
_MIN_SLICED_SIDE = 256

_CONVERSION = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)


@dataclass(frozen=True)
class ColourTags:
    """What a player must know to turn stored samples into colours, in the numbers of ITU-T H.273.

    Attributes:
        matrix: From RGB to luma and chroma; 0 if RGB is stored.
        primaries: The colours of red, green and blue.
        transfer: From light to a sample.
        sample_range: 1 for limited (16..235), 2 for full (0..255).
    """

    matrix: int
    primaries: int
    transfer: int
    sample_range: int


def colour_tags(output_format: OutputFormat, size: tuple[int, int]) -> ColourTags:
    """Returns the colour tags of a format for frames of a size (height, width)."""
    if output_format.is_rgb:
        return ColourTags(0, ColorPrimaries.BT709, ColorTrc.BT709, ColorRange.JPEG)
    if size[0] >= MIN_HD_HEIGHT or size[1] >= MIN_HD_WIDTH:
        return ColourTags(1, ColorPrimaries.BT709, ColorTrc.BT709, ColorRange.MPEG)
    return ColourTags(6, ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M, ColorRange.MPEG)


@dataclass(frozen=True)
class VideoSettings:
    """All that the packets of a video depend on besides its frames and their times.

    Attributes:
        output_format: The container, the codec and its options.
        size: Height and width in pixels.
        fps: Nominal frames per second.
        pixel_aspect: Width of a pixel divided by its height.
    """

    output_format: OutputFormat
    size: tuple[int, int]
    fps: Fraction
    pixel_aspect: Fraction

    @property
    def time_base(self) -> Fraction:
        """The unit of the file's times, in seconds."""
        if self.output_format.container == "avi":
            return 1 / self.fps
        # In a time base of 1 / (numerator × k), a frame lasts denominator × k units.
        return Fraction(1, self.fps.numerator * math.ceil(1 / (_MAX_TIME_UNIT * self.fps.numerator)))

    @property
    def frame_ticks(self) -> int:
        """How long a frame lasts at the nominal rate, in units of `time_base`."""
        return int(1 / (self.fps * self.time_base))


class PacketTimer:
    """Gives packets their decoding time and their duration, from the times of the frames.

    Encoders derive decoding times from the frames that they have seen, so packets of two encoders, one after
    the other, may go back in time. Here packet n has the time of frame n − delay, whichever encoder made it.

    Args:
        settings: The video's.
    """

    def __init__(self, settings: VideoSettings) -> None:
        self._delay = CODECS[settings.output_format.codec].reorder_delay
        self._frame_ticks = settings.frame_ticks
        self._is_mp4 = settings.output_format.container in ("mp4", "mov")
        self._times = array("q")
        self._end: int | None = None
        self._waiting: deque[Packet[VideoStream]] = deque()
        self._packets = 0

    def add_time(self, ticks: int) -> int:
        """Adds the next frame's time, in the video's time base, and returns it.

        A time that is not later than the one before is moved to the next unit: no container holds it.
        """
        ticks = max(ticks, self._times[-1] + 1) if self._times else ticks
        self._times.append(ticks)
        return ticks

    def add_packets(self, packets: "list[Packet[VideoStream]]") -> "Iterator[Packet[VideoStream]]":
        """Adds an encoder's packets, and yields those whose duration is known."""
        self._waiting.extend(packets)
        return self._complete()

    def end(self, duration: int) -> "Iterator[Packet[VideoStream]]":
        """Ends the video with the last frame's duration, and yields the last packets."""
        self._end = self._times[-1] + duration
        return self._complete()

    def _complete(self) -> "Iterator[Packet[VideoStream]]":
        while self._waiting:
            packet = self._waiting[0]
            following = bisect_left(self._times, cast("int", packet.pts)) + 1
            end = self._times[following] if following < len(self._times) else self._end
            if end is None:
                return
            packet.duration = end - cast("int", packet.pts)
            packet.dts = self._decoding_time(self._packets)
            self._packets += 1
            if self._end is not None and self._packets == len(self._times) and self._is_mp4:
                self._fill(packet, self._end)
            yield self._waiting.popleft()

    def _fill(self, packet: "Packet[VideoStream]", end: int) -> None:
        """Makes the last packet last until the end of the video.

        MP4 knows the length of a video only as the sum of the steps between decoding times. The last packet
        is not always that of the last frame, which may be shown for long.
        """
        pts = cast("int", packet.pts)
        dts = cast("int", packet.dts)
        run_up = self._delay * self._frame_ticks
        if dts + cast("int", packet.duration) < end - run_up:
            packet.duration = end - pts
            packet.dts = max(dts, pts - run_up)

    def _decoding_time(self, number: int) -> int:
        if number >= self._delay:
            return self._times[number - self._delay]
        return self._times[0] - (self._delay - number) * self._frame_ticks


class VideoEncoder:
    """Adds a video stream to a container and encodes frames for it.

    Args:
        container: An open output without a written header.
        settings: The video's.
    """

    def __init__(self, container: OutputContainer, settings: VideoSettings) -> None:
        self._settings = settings
        self._tags = colour_tags(settings.output_format, settings.size)
        self._reformatter = VideoReformatter()
        self.stream = self._add_stream(container)

    def encode(self, frame: AnyFrames, ticks: int) -> "list[Packet[VideoStream]]":
        """Encodes a frame, uint8 or uint16 (H, W, 3) RGB, and returns the packets that are complete."""
        layout = "rgb24" if frame.dtype == np.uint8 else "rgb48le"
        source = VideoFrame.from_numpy_buffer(cast("Frames", np.ascontiguousarray(frame)), layout)
        tags = self._tags
        converted = self._reformatter.reformat(
            source,
            format=self._settings.output_format.pixel_format,
            # swscale has no matrix 0: between two RGB formats it uses none.
            dst_colorspace=tags.matrix or Colorspace.ITU709,
            interpolation=Interpolation.POINT if self._settings.output_format.is_rgb else _CONVERSION,
            src_color_range=ColorRange.JPEG,
            dst_color_range=tags.sample_range,
        )
        converted.pts = ticks
        converted.time_base = self._settings.time_base
        return self.stream.encode(converted)

    def flush(self) -> "list[Packet[VideoStream]]":
        """Returns the last packets."""
        return self.stream.encode(None)

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        settings = self._settings
        chosen = settings.output_format
        stream = cast(
            "VideoStream",
            container.add_stream(
                CODECS[chosen.codec].encoder, rate=settings.fps, options=_encoder_options(settings)
            ),
        )
        stream.time_base = settings.time_base
        context = stream.codec_context
        context.height, context.width = settings.size
        context.pix_fmt = chosen.pixel_format
        context.time_base = settings.time_base
        context.sample_aspect_ratio = settings.pixel_aspect
        context.colorspace = self._tags.matrix
        context.color_primaries = self._tags.primaries
        context.color_trc = self._tags.transfer
        context.color_range = self._tags.sample_range
        context.flags |= Flags.bitexact
        if chosen.codec == H264:
            context.thread_count = _X264_THREADS
            is_small = math.prod(settings.size) <= _MAX_FRAME_THREADS_PIXELS
            context.thread_type = ThreadType.FRAME if is_small else ThreadType.SLICE
        if chosen.codec == H265 and container.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # QuickTime and Safari play no other
        return stream


def _encoder_options(settings: VideoSettings) -> dict[str, str]:
    chosen = settings.output_format
    options: dict[str, str] = {}
    if chosen.crf is not None:
        options["crf"] = str(chosen.crf)
    if chosen.preset is not None:
        options["preset"] = chosen.preset
    lookahead = _lookahead(settings)
    if chosen.codec == H264:
        options |= lookahead
        if math.prod(settings.size) > _MAX_8K_PIXELS:
            options["subq"] = "0"
    if chosen.codec == H265:
        x265 = {"log-level": "none", "frame-threads": str(_X265_FRAME_THREADS), **lookahead}
        options["x265-params"] = ":".join(f"{name}={value}" for name, value in x265.items())
    if chosen.codec == FFV1:
        options |= {"level": "3", "slicecrc": "1", "g": "1"}
        if min(settings.size) >= _MIN_SLICED_SIDE:
            is_large = math.prod(settings.size) > _MAX_8K_PIXELS
            options["slices"] = str(_FFV1_SLICES_BEYOND_8K if is_large else _FFV1_SLICES)
    if chosen.codec == PRORES:
        options |= {"profile": "hq", "vendor": "apl0"}
    return options


def _lookahead(settings: VideoSettings) -> dict[str, str]:
    """Returns the options of x264 and x265 that limit the frames in their memory."""
    frames = _MAX_LOOKAHEAD_PIXELS // math.prod(settings.size)
    if frames >= 40 or settings.output_format.preset in _PRESETS_WITHOUT_LOOKAHEAD:
        return {}
    if frames >= _MIN_LOOKAHEAD:
        return {"rc-lookahead": str(frames)}
    bframes, references = ("bf", "refs") if settings.output_format.codec == H264 else ("bframes", "ref")
    return {"rc-lookahead": str(frames), bframes: "0", references: "1"}


def try_encoder(settings: VideoSettings) -> str | None:
    """Encodes two black frames into memory, and returns why it is impossible, or None."""
    try:
        with av.open(BytesIO(), "w", format=settings.output_format.container) as container:
            encoder = VideoEncoder(container, settings)
            timer = PacketTimer(settings)
            frame = np.zeros((*settings.size, 3), np.uint8)
            for number in range(2):
                ticks = timer.add_time(number * settings.frame_ticks)
                for packet in timer.add_packets(encoder.encode(frame, ticks)):
                    container.mux(packet)
            for packet in timer.add_packets(encoder.flush()):
                container.mux(packet)
            for packet in timer.end(settings.frame_ticks):
                container.mux(packet)
    except (av.FFmpegError, ValueError, OverflowError, MemoryError):
        # FFmpeg's reason is "Invalid argument" for all of them.
        codec = CODECS[settings.output_format.codec]
        height, width = settings.size
        return (
            f"{codec.title} cannot hold {width}×{height} pixels at {float(settings.fps):g} fps: "
            f"the encoder {codec.encoder} refuses them"
        )
    return None
