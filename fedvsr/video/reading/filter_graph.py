"""Builds chains of libavfilter's filters."""

from collections.abc import Iterator

import av.error
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame


class FilterChain:
    """A chain of filters for pictures of one size, pixel format and colour space.

    Args:
        filters: Names and options, first to last.
        width: Of the pictures in pixels.
        height: Of the pictures in pixels.
        pixel_format: FFmpeg's name of the format.
        matrix: The matrix coefficients' number in ITU-T H.273; 2 if unknown.
        value_range: 1 for limited, 2 for full range, 0 if unknown.
    """

    def __init__(
        self,
        *filters: tuple[str, str],
        width: int,
        height: int,
        pixel_format: str,
        matrix: int = 2,
        value_range: int = 0,
    ) -> None:
        self._graph = Graph()
        self._source = self._graph.add(
            "buffer",
            video_size=f"{width}x{height}",
            pix_fmt=pixel_format,
            time_base="1/25",
            pixel_aspect="1/1",
            colorspace=str(matrix),
            range=str(value_range),
        )
        last: FilterContext = self._source
        for name, options in (*filters, ("buffersink", "")):
            following = self._graph.add(name, options)
            last.link_to(following)
            last = following
        self._sink = last
        self._graph.configure()
        self._count = 0

    def push(self, picture: VideoFrame | None) -> Iterator[VideoFrame]:
        """Passes a picture to the chain, or None at the end, and yields the pictures that come out."""
        if picture is not None:
            picture.pts = self._count
            self._count += 1
        self._source.push(picture)
        while True:
            try:
                output = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(output, VideoFrame)
            yield output
