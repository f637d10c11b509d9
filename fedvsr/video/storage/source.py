"""The original stream, cut at key frames: as small as the video, and slower to read than pixels.

A shard is a Matroska file with some groups of pictures of the video, copied without re-encoding. To read a
frame, the frames before it in its shard are decoded too.
"""

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.packet import Packet

from fedvsr.errors import ShardError, VideoError
from fedvsr.video.decode import VideoReader
from fedvsr.video.frames import Frames
from fedvsr.video.pixels import ranges_of
from fedvsr.video.reading.container import open_container, video_stream
from fedvsr.video.storage.base import Storage, check_frames

# A patch and its low resolution are of the same frames, which are then decoded once. Every thread keeps only
# the frames that it decoded last, because they are large.
_last_decoded = threading.local()


class SourceStorage(Storage):
    """Keeps the video's own compressed frames."""

    description = "the video's own stream, cut at key frames: smallest; a patch decodes up to a shard"
    suffix = ".mkv"

    def open(self, path: Path, frames: int) -> "SourceFrames":
        try:
            with VideoReader[Frames](path) as reader:
                size = reader.height, reader.width
        except VideoError as error:
            raise ShardError(f"{path}: cannot be opened ({error}); delete it and make it again") from error
        return SourceFrames(path, (frames, *size, 3))


class SourceFrames:
    """The frames of a shard of the original stream.

    Args:
        path: The file.
        shape: (T, H, W, 3).

    Attributes:
        shape: (T, H, W, 3).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path = path
        self.shape = shape

    def __getitem__(self, key: Any, /) -> Frames:
        """Returns the pixels selected by up to three slices of step 1: frames, rows, columns."""
        frames, rows, columns = ranges_of(key, self.shape)
        decoded = self._decode(frames.start, frames.stop)
        return decoded[:, rows.start : rows.stop, columns.start : columns.stop]

    def _decode(self, start: int, stop: int) -> Frames:
        wanted = (self._path, start, stop)
        if getattr(_last_decoded, "what", None) != wanted:
            try:
                with VideoReader[Frames](self._path) as reader:
                    frames = list(islice(reader, start, stop))
            except VideoError as error:
                raise ShardError(
                    f"{self._path}: frames {start} to {stop - 1} cannot be decoded ({error}); make it again"
                ) from error
            check_frames(self._path, stop - start, len(frames))
            _last_decoded.what, _last_decoded.frames = wanted, np.stack(frames)
        result: Frames = _last_decoded.frames
        return result


def cut_at_key_frames(path: Path, folder: Path, most_bytes: int) -> list[Path]:
    """Copies a video's stream into files that begin with key frames.

    Args:
        path: A video file.
        folder: An existing folder for the files.
        most_bytes: A file ends at the first key frame after this many bytes.

    Returns:
        The files, in order.

    Raises:
        fedvsr.errors.VideoError: The stream cannot be copied into Matroska.
    """
    files: list[Path] = []
    try:
        with open_container(path) as source:
            stream = video_stream(path, source)
            for packets in _groups(source.demux(stream), most_bytes):
                files.append(folder / f"{len(files):06d}.mkv")
                # Without random identifiers, so that the same stream gives the same bytes.
                with av.open(
                    f"file:{files[-1]}", "w", format="matroska", options={"fflags": "+bitexact"}
                ) as target:
                    copy = target.add_stream_from_template(stream)
                    for packet in packets:
                        packet.stream = copy
                        target.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"{path}: its stream cannot be cut at key frames ({error})") from error
    return files


def _groups(packets: "Iterator[Packet[Any]]", most_bytes: int) -> "Iterator[list[Packet[Any]]]":
    """Yields packets that belong in one file."""
    group: list[Packet[Any]] = []
    size = 0
    for packet in packets:
        if packet.dts is None:
            continue
        if group and packet.is_keyframe and size >= most_bytes:
            yield group
            group, size = [], 0
        group.append(packet)
        size += packet.size
    if group:
        yield group


def frame_counts(files: Sequence[Path], expected: Iterator[Frames]) -> list[int] | None:
    """Returns the number of frames in each file, if together they are the frames that are expected.

    Args:
        files: The files, in order.
        expected: The frames of the whole video, each uint8 (H, W, 3).

    Returns:
        None if a file's frames cannot be decoded or differ from what is expected by a single pixel.
    """
    counts = []
    for file in files:
        count = 0
        try:
            with VideoReader[Frames](file) as reader:
                for frame in reader:
                    wanted = next(expected, None)
                    if wanted is None or not np.array_equal(frame, wanted):
                        return None
                    count += 1
        except VideoError:
            return None
        counts.append(count)
    return counts if next(expected, None) is None else None
