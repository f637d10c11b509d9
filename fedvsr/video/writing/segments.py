"""Keeps the finished parts of an encoded video, so that a later run continues where this one stopped."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict, ValidationError

from fedvsr.errors import VideoError
from fedvsr.video.frames import AnyFrames
from fedvsr.video.writing.companion_streams import CompanionStreams
from fedvsr.video.writing.finished_files import discard, partial_path, publish
from fedvsr.video.writing.output_file import OutputFile, file_url, open_segment
from fedvsr.video.writing.resume_record import ResumeRecord, check_same, read_record, write_record
from fedvsr.video.writing.video_encoder import VideoEncoder, VideoSettings


def segments_folder(path: Path) -> Path:
    """Returns the hidden folder beside ``path`` with the finished parts of an unfinished video."""
    return path.with_name(f".{path.name}.segments")


class SegmentRecord(BaseModel):
    """The frames of a segment. It is written after the segment, which is complete if there is a record.

    Attributes:
        ticks: When each frame is shown, in the video's time base.
        duration: For how long the last frame of the video is shown; None if it is not in this segment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ticks: tuple[int, ...]
    duration: int | None


class SegmentSink:
    """Encodes frames to segments of a fixed number of frames, and joins them without encoding again.

    Each segment has its own encoder. So the packets are the same whether or not the writing stopped between
    two segments.

    Args:
        path: The video.
        kept: The folder of its segments.
        companions: The other streams of the frames' source.
        record: The settings of this run.
    """

    def __init__(self, path: Path, kept: Path, companions: CompanionStreams, record: ResumeRecord) -> None:
        self._path = path
        self._kept = kept
        self._companions = companions
        self._record = record
        self._partial = partial_path(path)
        self._file: OutputFile | None = None
        self._segment: _Segment | None = None
        self._settings: VideoSettings | None = None
        discard(self._partial)
        before = read_record(kept)
        if before is None:
            discard(kept)
            kept.mkdir()
        else:
            check_same(kept, before, record)
        for stale in kept.glob(".*"):
            discard(stale)
        self.kept_size = before.size if before else None
        self._finished = list(_read_segments(kept))
        self.frames_kept = sum(len(segment.ticks) for segment in self._finished)

    def open(self, settings: VideoSettings) -> None:
        record = self._record.model_copy(update={"size": settings.size})
        before = read_record(self._kept)
        if before is None:
            write_record(self._kept, record)
        else:
            check_same(self._kept, before, record)
        self._settings = settings

    def write(self, frame: AnyFrames, ticks: int) -> None:
        assert self._settings is not None
        if self._segment is not None and len(self._segment.ticks) == self._record.segment_frames:
            self._close_segment(None)
        if self._segment is None:
            first = sum(len(segment.ticks) for segment in self._finished)
            self._segment = _Segment(self._kept, first, self._settings)
        # As in PacketTimer: a time that is not later than the one before is moved to the next unit.
        last = self._last_ticks()
        self._segment.write(frame, ticks if last is None else max(ticks, last + 1))

    def finish(self, settings: VideoSettings, duration: int | None) -> None:
        if self._segment is not None:
            self._close_segment(duration or settings.frame_ticks)
        self._file = OutputFile(self._partial, settings, self._companions)
        first = 0
        for segment in self._finished:
            self._file.add_segment(segment.ticks, _read_packets(self._kept, first, settings))
            first += len(segment.ticks)
        self._file.finish(self._finished[-1].duration or duration or settings.frame_ticks)
        self._file = None
        publish(self._partial, self._path)
        discard(self._kept)

    def discard(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None
        discard(self._partial)
        if self._segment is not None:
            self._segment.discard()
            self._segment = None
        if self._kept.exists() and not self._finished:
            discard(self._kept)

    def _close_segment(self, duration: int | None) -> None:
        assert self._segment is not None
        self._finished.append(self._segment.finish(duration))
        self._segment = None

    def _last_ticks(self) -> int | None:
        if self._segment is not None and self._segment.ticks:
            return self._segment.ticks[-1]
        return self._finished[-1].ticks[-1] if self._finished else None


class _Segment:
    """A segment that is being written."""

    def __init__(self, folder: Path, first: int, settings: VideoSettings) -> None:
        self.ticks: list[int] = []
        self._folder = folder
        self._first = first
        self._path = _segment_path(folder, first)
        self._partial = partial_path(self._path)
        self._container: OutputContainer = open_segment(self._partial, settings)
        self._encoder = VideoEncoder(self._container, settings)

    def write(self, frame: AnyFrames, ticks: int) -> None:
        self.ticks.append(ticks)
        self._container.mux(self._encoder.encode(frame, ticks))

    def finish(self, duration: int | None) -> SegmentRecord:
        self._container.mux(self._encoder.flush())
        self._container.close()
        publish(self._partial, self._path)
        record = SegmentRecord(ticks=tuple(self.ticks), duration=duration)
        write_record(self._folder, record, _record_name(self._first))
        return record

    def discard(self) -> None:
        try:
            self._container.close()
        except (OSError, av.FFmpegError):
            # The error that ended the writing is the one to report.
            pass
        finally:
            discard(self._partial)


def _segment_path(folder: Path, first: int) -> Path:
    return folder / f"{first:08d}.segment"


def _record_name(first: int) -> str:
    return f"{first:08d}.json"


def _read_segments(folder: Path) -> Iterator[SegmentRecord]:
    """Yields the records of the segments that follow one another from the first frame."""
    first = 0
    while (path := folder / _record_name(first)).exists():
        try:
            record = SegmentRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise VideoError(
                f"{path}: is not the record of a segment; delete the folder {folder} and start again"
            ) from error
        yield record
        first += len(record.ticks)


def _read_packets(folder: Path, first: int, settings: VideoSettings) -> "Iterator[Packet[VideoStream]]":
    """Yields the packets of a segment with times in the video's time base."""
    with av.open(file_url(_segment_path(folder, first))) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.pts is None:  # the end
                continue
            packet.pts = round(packet.pts * packet.time_base / settings.time_base)
            packet.time_base = settings.time_base
            yield packet
