"""Tells interlaced frames from progressive ones by their content, and deinterlaces them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fedvsr.errors import VideoError
from fedvsr.video.frames import Frames
from fedvsr.video.reading.filter_graph import FilterChain
from fedvsr.video.reading.video_file import DecodedFrame

# The detector compares lines, so a sample of about this many columns tells as much as all.
_DETECTION_COLUMNS = 100
# In interlaced video, one of the two orders of fields is smoother in time than the other by 1.1 to 3, and
# about as smooth as the frame itself. In progressive video, both are equally smooth, and the frame itself is
# smoother than them if something moves. Fine patterns that move by one line disturb either measure, so the
# stronger one decides. Measured on videos and test pictures.
_MIN_ORDER_RATIO = 1.1
_MIN_FRAME_RATIO = 1.15
# So many frames that say the same, in a row of so many without one that says otherwise, show that a video is
# interlaced although it says that it is progressive. Text that scrolls into a black picture looks interlaced
# for up to six frames.
_WINDOW = 10
_MIN_AGREEING = 8
_MIN_FRAMES = 3
# So many frames must follow a progressive one in an interlaced video before it is believed.
_CONFIRMING = 2
_MIN_SIDE = 16  # interlaced video is not smaller
# Interlaced video has more lines. In a smaller picture, fine detail that moves can look like two
# fields, so a flag that says progressive is believed.
_MIN_UNFLAGGED_HEIGHT = 240


class FieldOrder(Enum):
    """How a frame's two fields follow each other in time; the values are bwdif's parities."""

    TOP_FIRST = "tff"
    BOTTOM_FIRST = "bff"
    AS_FLAGGED = "auto"
    PROGRESSIVE = "progressive"


def deinterlace(frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
    """Deinterlaces the frames of a video that are interlaced, and passes on the others untouched.

    The filter is bwdif (libavfilter): one frame per frame, at the time of its first field. Whether a frame is
    interlaced, and which field comes first, is decided by its content. If the
    content does not tell, because little moves, the frames before or after decide, and at last the file's
    flag. A video whose flags say progressive throughout is believed unless many frames in a row show
    otherwise, so fine detail and static graphics stay untouched. If only a small part of a detailed picture
    moves, the content does not tell.

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
        self._flag_remover: FilterChain | None = None

    def process(self, frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
        detector: _Detector | None = None
        error: VideoError | None = None
        iterator = iter(frames)
        while True:
            # The frames before a damaged one must come out before the error.
            try:
                frame = next(iterator)
            except StopIteration:
                break
            except VideoError as problem:
                error = problem
                break
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
        if detector is not None:
            self._record(detector.finish())
        self._ended = True
        while self._window:
            yield self._next()
        if error is not None:
            raise error

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
            if entry.flagged:
                frame = replace(frame, picture=self._without_flag(picture))
        else:
            if self._filter is None or self._filter.order is not order:
                self._filter = _Bwdif(picture, order, self._previous)
            following = self._window[0].frame.picture if self._window else None
            frame = replace(entry.frame, picture=self._filter.process(picture, following))
        self._previous = picture
        return frame

    def _without_flag(self, picture: VideoFrame) -> VideoFrame:
        """Returns a picture flagged as progressive; otherwise libswscale converts each field by itself."""
        if self._flag_remover is None:
            self._flag_remover = _chain(picture, ("setfield", "prog"))
        (unflagged,) = self._flag_remover.push(picture)
        return unflagged

    def _decide(self) -> FieldOrder:
        """Returns the field order of the first frame in the window."""
        entry = self._window[0]
        orders = [entry.order for entry in self._window]
        if not entry.flagged and not self._flags_are_wrong:
            tall = entry.frame.picture.height >= _MIN_UNFLAGGED_HEIGHT
            self._flags_are_wrong = tall and self._shows_interlacing(orders)
            if not self._flags_are_wrong:
                return FieldOrder.PROGRESSIVE
        told = [order for order in orders if order is not None]
        confirming = told[1 : 1 + _CONFIRMING]
        if entry.order is not FieldOrder.PROGRESSIVE or self._last_order is FieldOrder.PROGRESSIVE:
            self._last_order = entry.order or self._last_order
        elif all(order is FieldOrder.PROGRESSIVE for order in confirming):
            self._last_order = FieldOrder.PROGRESSIVE
        elif self._last_order is None:
            self._last_order = next(order for order in confirming if order is not FieldOrder.PROGRESSIVE)
        return self._last_order or next(iter(told), FieldOrder.AS_FLAGGED)

    def _shows_interlacing(self, orders: list[FieldOrder | None]) -> bool:
        told = [order for order in orders[:_WINDOW] if order is not None]
        short = self._ended and self._frames_seen < _MIN_AGREEING
        needed = max(self._frames_seen, _MIN_FRAMES) if short else _MIN_AGREEING
        return len(told) >= needed and len(set(told)) == 1 and told[0] is not FieldOrder.PROGRESSIVE


class _Detector:
    """Measures the field order of frames, one frame later than they are shown.

    The closer two fields are in time, the less a line of one differs from the mean of its neighbours in the
    other. FFmpeg's idet measures the same, but one of two ratios decides alone, and so it takes FFmpeg's own
    test picture (testsrc2, 352×288) for interlaced.
    """

    def __init__(self, picture: VideoFrame) -> None:
        self._step = max(1, picture.width // _DETECTION_COLUMNS)
        self._luma = _LumaReader()
        self._frames: deque[_Lines] = deque(maxlen=3)

    def show(self, picture: VideoFrame) -> Iterator[FieldOrder | None]:
        """Shows the next frame, and yields the field order of the frame before it."""
        lines = _Lines(self._luma.read(picture)[:, :: self._step])
        if not self._frames:
            self._frames.append(lines)
        self._frames.append(lines)
        if len(self._frames) == 3:
            yield _field_order(*self._frames)

    def finish(self) -> Iterator[FieldOrder | None]:
        """Yields the field order of the last frame."""
        _, before, last = (self._frames[0], *self._frames) if len(self._frames) < 3 else self._frames
        yield _field_order(before, last, last)


class _Lines:
    """Twice the lines of a frame, and the sums of the lines above and below them."""

    def __init__(self, luma: Frames) -> None:
        height = luma.shape[0] // 2 * 2
        lines = luma[:height].astype(np.int16)
        top, bottom = lines[0::2], lines[1::2]
        self.top, self.bottom = 2 * top[1:], 2 * bottom[:-1]
        self.around_top = bottom[:-1] + bottom[1:]
        self.around_bottom = top[:-1] + top[1:]


def _field_order(before: _Lines, lines: _Lines, after: _Lines) -> FieldOrder | None:
    top, bottom = lines.around_top, lines.around_bottom
    # If the top field comes first, it is close to the bottom field before, and the bottom field is close to
    # the top field after.
    top_first = _difference(bottom, before.bottom) + _difference(top, after.top)
    bottom_first = _difference(top, before.top) + _difference(bottom, after.bottom)
    itself = _difference(top, lines.top) + _difference(bottom, lines.bottom)
    smoother, rougher = sorted((top_first, bottom_first))
    order_ratio = rougher / max(smoother, 1.0)
    frame_ratio = smoother / max(itself, 1.0)
    if frame_ratio > max(_MIN_FRAME_RATIO, order_ratio):
        return FieldOrder.PROGRESSIVE
    if order_ratio > max(_MIN_ORDER_RATIO, frame_ratio):
        return FieldOrder.TOP_FIRST if top_first < bottom_first else FieldOrder.BOTTOM_FIRST
    return None


def _difference(first: NDArray[np.int16], second: NDArray[np.int16]) -> float:
    return float(cv2.norm(first, second, cv2.NORM_L1))


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
        self._bwdif = _chain(
            picture,
            ("bwdif", f"mode=send_frame:parity={order.value}:deint=all"),
            ("format", picture.format.name),
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


def _chain(picture: VideoFrame, *filters: tuple[str, str]) -> FilterChain:
    return FilterChain(
        *filters,
        width=picture.width,
        height=picture.height,
        pixel_format=picture.format.name,
        matrix=int(picture.colorspace),
        value_range=int(picture.color_range),
    )
