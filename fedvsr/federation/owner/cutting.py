"""Cuts an owner's videos into clips, and leaves out the videos that cannot be used."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fedvsr.config.run import DataConfig
from fedvsr.errors import StoreError, VideoError
from fedvsr.federation.owner.fingerprints import Fingerprint
from fedvsr.federation.owner.videos import Video
from fedvsr.federation.shard_records import SkippedVideo
from fedvsr.progress import Progress
from fedvsr.text import printable
from fedvsr.video.decode import VideoReader
from fedvsr.video.frames import Frames
from fedvsr.video.reading.image_folder import FOLDER_FRAMES_PER_SECOND
from fedvsr.video.shards import ClipInfo
from fedvsr.video.shots import split_shots

DescribedClip = tuple[ClipInfo, Frames]


@dataclass(frozen=True)
class CutVideo:
    """A video's clips.

    Attributes:
        path: A local path of the video.
        fps: Frames per second.
        height: In pixels.
        width: In pixels.
        shots: First frame in the video and number of frames of each clip.
        damaged_frames: Number of frames of the owner that do not decode.
        clips: Yields the clips in order, one at a time in memory; may be called again.
    """

    path: Path
    fps: float
    height: int
    width: int
    shots: tuple[tuple[int, int], ...]
    damaged_frames: int
    clips: Callable[[], Iterator[DescribedClip]]


class VideoCutter:
    """Cuts videos into clips.

    A video that cannot be used is left out as a whole, also if only its end is damaged: its clips wait in a
    temporary file until its last frame has been decoded. Memory holds two clips.

    Args:
        data: How to cut. If ``strict``, the first video that cannot be used is an error.
        owner: The owner's name, for messages.
        progress: Receives a message for each video that is left out.

    Attributes:
        skipped: The videos that have been left out so far.
    """

    def __init__(self, data: DataConfig, owner: str, progress: Progress) -> None:
        self.skipped: list[SkippedVideo] = []
        self._data = data
        self._owner = owner
        self._progress = progress

    @contextmanager
    def cut(self, video: Video, fingerprint: Fingerprint) -> Iterator[CutVideo | None]:
        """Cuts a video, and keeps its clips until the ``with`` block ends.

        Yields:
            None if the video cannot be used.

        Raises:
            fedvsr.errors.VideoError: The video cannot be used, and the configuration is strict.
            fedvsr.errors.StoreError: The store or this machine's disk failed.
        """
        with ExitStack() as resources:
            scratch = _Scratch(resources.enter_context(tempfile.TemporaryFile(prefix="fedvsr-clips-")))
            cut: CutVideo | None = None
            try:
                if fingerprint.problem:
                    raise VideoError(f"{video.name}: {fingerprint.problem}")
                path = resources.enter_context(video.as_local_path())
                damaged_frames = self._cut(video, path, scratch)
            except VideoError as error:
                if self._data.strict:
                    raise
                self._skip(video, fingerprint, str(error))
            else:
                first = scratch.infos[0]
                cut = CutVideo(
                    path=path,
                    fps=first.fps,
                    height=first.height,
                    width=first.width,
                    shots=tuple((info.first_frame, info.frames) for info in scratch.infos),
                    damaged_frames=damaged_frames,
                    clips=scratch.read,
                )
            yield cut

    def keep(self, entry: SkippedVideo) -> None:
        """Leaves out a video that was left out before and has not changed."""
        self.skipped.append(entry)
        self._progress.message(describe_skipped(self._owner, entry))

    def _cut(self, video: Video, path: Path, scratch: "_Scratch") -> int:
        """Writes a video's clips to the scratch file; returns the number of its damaged frames."""
        try:
            damaged_frames = self._decode(video, path, scratch)
        except VideoError as error:
            raise VideoError(f"{video.name}: {_without_path(error, path)}") from error
        if not scratch.infos:
            raise VideoError(
                f"{video.name}: has no shot of data.minimum_frames = {self._data.minimum_frames} frames; "
                "lower it, or leave this video out"
            )
        return damaged_frames

    def _decode(self, video: Video, path: Path, scratch: "_Scratch") -> int:
        data, name = self._data, video.name
        with VideoReader(path, skip_damaged=data.damaged_frames == "skip") as reader:
            fps = float(reader.fps or FOLDER_FRAMES_PER_SECOND)
            for first_of_part, part in _parts_without_gaps(reader, video):
                shots = split_shots(
                    part,
                    fps=fps,
                    minimum_frames=data.minimum_frames,
                    maximum_frames=data.maximum_frames,
                    detect=data.split_shots,
                )
                for first_of_shot, frames in shots:
                    first_frame = first_of_part + first_of_shot
                    scratch.add(_describe(name, first_frame, fps, frames), frames)
            return sum(_is_owned(video, number) for number in reader.damaged)

    def _skip(self, video: Video, fingerprint: Fingerprint, problem: str) -> None:
        reason = printable(problem.removeprefix(f"{video.name}: "))
        self.keep(SkippedVideo(video=video.name, reason=reason, fingerprint=fingerprint.value))


class _Scratch:
    """A video's clips on disk.

    Attributes:
        infos: The clips' descriptions.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.infos: list[ClipInfo] = []
        self._file = file

    def add(self, info: ClipInfo, frames: Frames) -> None:
        """Writes a clip's pixels."""
        try:
            self._file.write(np.ascontiguousarray(frames).data)
        except OSError as error:
            raise StoreError(
                f"{tempfile.gettempdir()}: the clips of {info.source!r} cannot be written "
                f"({error.strerror}); make room or set TMPDIR to another folder, and run this again"
            ) from error
        self.infos.append(info)

    def read(self) -> Iterator[DescribedClip]:
        """Yields the clips, one at a time in memory."""
        self._file.seek(0)
        for info in self.infos:
            yield info, np.fromfile(self._file, np.uint8, info.pixel_bytes).reshape(info.shape)


def describe_skipped(owner: str, entry: SkippedVideo) -> str:
    """Returns the message about a video that is left out."""
    return f"{owner}: {printable(entry.video)} is left out: {entry.reason}"


def _describe(source: str, first_frame: int, fps: float, frames: Frames) -> ClipInfo:
    length, height, width = frames.shape[:3]
    return ClipInfo(
        name=str(first_frame),
        frames=length,
        height=height,
        width=width,
        fps=fps,
        source=source,
        first_frame=first_frame,
    )


def _is_owned(video: Video, number: int) -> bool:
    """Returns whether a frame of a video is its owner's."""
    return video.first_frame <= number and (video.stop_frame is None or number < video.stop_frame)


def _parts_without_gaps(
    reader: "VideoReader[Frames]", video: Video
) -> Iterator[tuple[int, Iterator[Frames]]]:
    """Divides the owner's frames of a video at damaged frames, so that no clip has a jump in time.

    Yields:
        The number of a part's first frame in the video, and its frames. The caller reads them to their end.
    """
    for _, part in groupby(_number_frames(reader, video), key=lambda entry: entry[0]):
        damaged_before, position, frame = next(part)
        rest = (entry[2] for entry in part)  # noqa: B031 -- the part without its first entry, read once
        yield position + damaged_before, chain([frame], rest)


def _number_frames(reader: "VideoReader[Frames]", video: Video) -> Iterator[tuple[int, int, Frames]]:
    """Yields the owner's frames of a video.

    Yields:
        The number of damaged frames before a frame, its position among the others, and the frame.
    """
    damaged_before = 0
    for position, frame in enumerate(reader):
        # The reader may be ahead, so `damaged` may already have frames after this one.
        while reader.damaged[damaged_before : damaged_before + 1] == [position + damaged_before]:
            damaged_before += 1
        number = position + damaged_before
        if video.stop_frame is not None and number >= video.stop_frame:
            return
        if number >= video.first_frame:
            yield damaged_before, position, frame


def _without_path(error: VideoError, path: Path) -> str:
    """Returns an error's message without the video's path, which may be temporary."""
    message = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}{os.sep}")
    return message.replace(str(path), "the video") if path.is_absolute() else message
