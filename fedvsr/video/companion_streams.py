"""The streams of a video's source that go along with its new frames: sound, subtitles, chapters, metadata."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from fedvsr.video.output_formats import OutputFormat


class CompanionStreams:
    """Not finished: copies nothing."""

    def __init__(
        self, source: Path | None, output_format: OutputFormat, start: Fraction, duration: Fraction | None
    ) -> None:
        self.notes: list[str] = []
        self.video_metadata: dict[str, str] = {}

    def add_to(self, container: OutputContainer) -> None:
        """Adds the streams."""

    def packets_until(self, time: Fraction | None) -> "Iterator[Packet[Stream]]":
        """Yields the packets."""
        return iter(())

    def close(self) -> None:
        """Closes the source."""
