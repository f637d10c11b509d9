"""Tells interlaced frames from progressive ones by their content, and deinterlaces them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from fedvsr.video.filter_graph import FilterChain
from fedvsr.video.frames import Frames
from fedvsr.video.video_file import DecodedFrame

# The detector compares lines, so a sample of about this many columns tells as much as all.
_DETECTION_COLUMNS = 240
# Thresholds of FFmpeg's idet. With its own 1.04 it takes progressive test pictures and scrolling text for
# interlaced ones; interlaced ones with some motion are far above 1.2. Its own 1.5 for progressive frames
# leaves many of them undetermined.
_IDET_OPTIONS = "intl_thres=1.2:prog_thres=1.2"
_IDET_KEY = "lavfi.idet.single.current_frame"
# So many frames that say the same, among so many in a row and without one that says otherwise, show that a
# video is interlaced although it says that it is progressive. Text that scrolls into a black picture looks
# interlaced for up to six frames.
_WINDOW = 10
_MIN_AGREEING = 8
_MIN_AGREEING_OF_SHORT_VIDEO = 3
_MIN_SIDE = 16  # interlaced video is not smaller


class FieldOrder(Enum):
    """How a frame's two fields follow each other in time; the values are bwdif's parities."""

    TOP_FIRST = "tff"
    BOTTOM_FIRST = "bff"
    AS_FLAGGED = "auto"
    PROGRESSIVE = "progressive"


_BY_IDET = {
    "tff": FieldOrder.TOP_FIRST,
    "bff": FieldOrder.BOTTOM_FIRST,
    "progressive": FieldOrder.PROGRESSIVE,
}


def deinterlace(frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
    """Deinterlaces the frames of a video that are interlaced, and passes on the others untouched.

    The filter is bwdif (libavfilter): one frame per frame, at the time of its first field. Whether a frame is
    interlaced, and which field comes first, is decided by its content, measured by idet (libavfilter). If the
    content does not tell, because little moves, the frames before or after decide, and at last the file's
    flag. A video whose flags say progressive throughout is believed unless many frames in a row show
    otherwise, so fine detail and static graphics stay untouched. If only a small part of a detailed picture
    moves, idet cannot tell, and the flag decides.

    Memory holds the decoded pictures of about ten frames.

    Args:
        frames: Decoded frames in order of display.

    Yields:
        The same frames, some with another picture of the same size and format.
    """
    for _, part in groupby(frames, key=lambda frame: _layout(frame.picture)):
        yield from _Deinterlacer().process(part)


def _layout(picture: VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name


@dataclass(frozen=True)
class _Entry:
    frame: DecodedFrame
    flagged: bool
    order: FieldOrder | None = None  # what the content says; None if it does not tell


class _Deinterlacer:
    """Processes frames of one size and pixel format."""

    def __init__(self) -> None:
        self._window: deque[_Entry] = deque()  # the first is the next to be yielded
        self._detected = 0  # how many of them have been measured
        self._frames_seen = 0
        self._ended = False
        self._previous: VideoFrame | None = None
        self._flags_are_wrong = False
        self._last_order: FieldOrder | None = None
        self._filter: _Bwdif | None = None

    def process(self, frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
        detector: _Detector | None = None
        for frame in frames:
            if min(frame.picture.width, frame.picture.height) < _MIN_SIDE:
                yield frame
                continue
            if detector is None:
                detector = _Detector(frame.picture)
            self._frames_seen += 1
            self._window.append(_Entry(frame, frame.picture.interlaced_frame))
            self._record(detector.show(frame.picture))
            while self._detected > _WINDOW:
                yield self._next()
        if detector is None:
            return
        self._record(detector.finish())
        self._ended = True
        while self._window:
            yield self._next()

    def _record(self, orders: Iterable[FieldOrder | None]) -> None:
        for order in orders:
            self._window[self._detected] = replace(self._window[self._detected], order=order)
            self._detected += 1

    def _next(self) -> DecodedFrame:
        order = self._decide()
        entry = self._window.popleft()
        self._detected -= 1
        picture = entry.frame.picture
        if order is FieldOrder.PROGRESSIVE:
            self._filter = None
            frame = entry.frame
        else:
            if self._filter is None or self._filter.order is not order:
                self._filter = _Bwdif(picture, order, self._previous)
            following = self._window[0].frame.picture if self._window else None
            frame = replace(entry.frame, picture=self._filter.process(picture, following))
        self._previous = picture
        return frame

    def _decide(self) -> FieldOrder:
        """Returns the field order of the first frame in the window."""
        entry = self._window[0]
        orders = [entry.order for entry in self._window]
        if not entry.flagged and not self._flags_are_wrong:
            self._flags_are_wrong = self._shows_interlacing(orders)
            if not self._flags_are_wrong:
                return FieldOrder.PROGRESSIVE
        if entry.order is not None:
            self._last_order = entry.order
        following = (order for order in orders if order is not None)
        return self._last_order or next(following, FieldOrder.AS_FLAGGED)

    def _shows_interlacing(self, orders: list[FieldOrder | None]) -> bool:
        told = [order for order in orders[:_WINDOW] if order is not None]
        short = self._ended and self._frames_seen < _MIN_AGREEING
        needed = _MIN_AGREEING_OF_SHORT_VIDEO if short else _MIN_AGREEING
        return len(told) >= needed and len(set(told)) == 1 and told[0] is not FieldOrder.PROGRESSIVE


class _Detector:
    """Measures the field order of frames by FFmpeg's idet, one frame later than they are shown."""

    def __init__(self, picture: VideoFrame) -> None:
        self._step = max(1, picture.width // _DETECTION_COLUMNS)
        self._luma = _LumaReader()
        columns = len(range(0, picture.width, self._step))
        self._idet = FilterChain(
            ("idet", _IDET_OPTIONS), width=columns, height=picture.height, pixel_format="gray"
        )
        self._shown = 0
        self._measured = 0

    def show(self, picture: VideoFrame) -> Iterator[FieldOrder | None]:
        """Shows the next frame, and yields the field orders of frames before it."""
        sample = VideoFrame.from_ndarray(
            np.ascontiguousarray(self._luma.read(picture)[:, :: self._step]), format="gray"
        )
        self._shown += 1
        return self._measure(sample)

    def finish(self) -> Iterator[FieldOrder | None]:
        """Yields the field orders of all frames that are left."""
        yield from self._measure(None)
        while self._measured < self._shown:
            self._measured += 1
            yield None

    def _measure(self, sample: VideoFrame | None) -> Iterator[FieldOrder | None]:
        for frame in self._idet.push(sample):
            self._measured += 1
            yield _BY_IDET.get(frame.metadata[_IDET_KEY])


class _LumaReader:
    """Returns the brightness of pictures with 8 bits, without a copy where the format allows."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def read(self, picture: VideoFrame) -> Frames:
        name, bits = picture.format.name, picture.format.components[0].bits
        if not name.startswith(("yuv4", "yuvj4", "yuva4", "gray", "nv1", "nv2")) or name.endswith("be"):
            picture = self._reformatter.reformat(picture, format="gray")
            bits = 8
        plane = picture.planes[0]
        data = memoryview(plane)
        if bits == 8:
            return np.frombuffer(data, np.uint8).reshape(plane.height, -1)[:, : plane.width]
        lines = np.frombuffer(data, np.uint16).reshape(plane.height, -1)[:, : plane.width]
        return (lines >> (bits - 8)).astype(np.uint8)


class _Bwdif:
    """Deinterlaces frames that follow each other.

    Args:
        picture: A picture of the size and format of all others.
        order: The order of the fields.
        previous: The picture before the first one; None if there is none.
    """

    def __init__(self, picture: VideoFrame, order: FieldOrder, previous: VideoFrame | None) -> None:
        self.order = order
        self._bwdif = FilterChain(
            ("bwdif", f"mode=send_frame:parity={order.value}:deint=all"),
            ("format", picture.format.name),
            width=picture.width,
            height=picture.height,
            pixel_format=picture.format.name,
            matrix=int(picture.colorspace),
            value_range=int(picture.color_range),
        )
        self._fed: VideoFrame | None = None
        self._outputs: deque[VideoFrame] = deque()
        self._skip = 0
        if previous is not None:
            self._feed(previous)
            self._skip = 1

    def process(self, picture: VideoFrame, following: VideoFrame | None) -> VideoFrame:
        """Returns a picture deinterlaced with the help of the one before and the one after."""
        if self._fed is not picture:
            self._feed(picture)
        self._feed(following)
        while self._skip:
            self._outputs.popleft()
            self._skip -= 1
        return self._outputs.popleft()

    def _feed(self, picture: VideoFrame | None) -> None:
        self._outputs.extend(self._bwdif.push(picture))
        self._fed = picture
