"""Cuts an owner's videos into clips, and leaves out the videos that cannot be used."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fedvsr.config.run import DataConfig
from fedvsr.errors import StoreError, VideoError
from fedvsr.federation.owner.fingerprints import Fingerprint
from fedvsr.federation.owner.names import ClipNames
from fedvsr.federation.owner.stored_clips import DescribedClip, StoredClips
from fedvsr.federation.owner.videos import Video
from fedvsr.federation.shard_records import ShardedVideo, SkippedVideo
from fedvsr.progress import Progress
from fedvsr.text import printable
from fedvsr.video.decode import VideoReader
from fedvsr.video.frames import Frames
from fedvsr.video.reading.image_folder import FOLDER_FRAMES_PER_SECOND
from fedvsr.video.shards import ClipInfo
from fedvsr.video.shots import split_shots


class VideoCutter:
    """Cuts videos into clips, one video after the other.

    A video that cannot be used is left out as a whole, also if only its end is damaged: its clips wait in a
    temporary file until its last frame has been decoded. Memory holds two clips.

    Args:
        videos: The videos, in the order of the clips.
        fingerprints: The fingerprint of each video.
        data: How to cut. If ``strict``, the first video that cannot be used is an error.
        owner: The owner's name, for messages.
        progress: Reports progress per video, and each video that is left out.
        stored: The clips of earlier shards with the same settings. Videos whose bytes are the same are not
            decoded again.

    Attributes:
        cut: The videos that have been cut so far.
        skipped: The videos that have been left out so far.
        unchanged: The names of the videos whose clips were stored.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        fingerprints: Sequence[Fingerprint],
        data: DataConfig,
        owner: str,
        progress: Progress,
        stored: StoredClips,
    ) -> None:
        self.cut: list[ShardedVideo] = []
        self.skipped: list[SkippedVideo] = []
        self.unchanged: set[str] = set()
        self._stored = stored
        self._videos = videos
        self._fingerprints = fingerprints
        self._data = data
        self._owner = owner
        self._progress = progress
        self._names = ClipNames(video.name for video in videos)

    def clips(self) -> Iterator[DescribedClip]:
        """Yields the clips of all videos that can be used.

        Raises:
            fedvsr.errors.VideoError: A video cannot be used, and the configuration is strict.
            fedvsr.errors.StoreError: The store or this machine's disk failed.
        """
        with self._progress.stage("decode", len(self._videos)) as advance:
            for done, (video, fingerprint) in enumerate(
                zip(self._videos, self._fingerprints, strict=True), start=1
            ):
                entry = self._stored.find_video(video.name, fingerprint.value)
                if entry:
                    yield from self._take_stored(entry)
                else:
                    yield from self._cut_or_skip(video, fingerprint)
                advance(done, printable(video.name))

    def _take_stored(self, entry: ShardedVideo) -> Iterator[DescribedClip]:
        """Yields the stored clips of a video that has not changed, with the names that they have now."""
        self.unchanged.add(entry.video)
        self._tell(entry)
        for info, frames in self._stored.read(entry.video):
            name = self._names.name(entry.video, info.first_frame)
            yield info.model_copy(update={"name": name}), frames

    def _cut_or_skip(self, video: Video, fingerprint: Fingerprint) -> Iterator[DescribedClip]:
        with tempfile.TemporaryFile(prefix="fedvsr-clips-") as file:
            scratch = _Scratch(file)
            try:
                if fingerprint.problem:
                    raise VideoError(f"{video.name}: {fingerprint.problem}")
                damaged_frames = self._cut(video, scratch)
            except VideoError as error:
                if self._data.strict:
                    raise
                self._skip(video, fingerprint, str(error))
                return
            self._record(video, fingerprint, scratch.infos, damaged_frames)
            yield from scratch.read()

    def _cut(self, video: Video, scratch: "_Scratch") -> int:
        """Writes a video's clips to the scratch file; returns the number of its damaged frames."""
        with video.as_local_path() as path:
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
                    clip_name = self._names.name(name, first_frame)
                    scratch.add(_describe(clip_name, name, first_frame, fps, frames), frames)
            return sum(_is_owned(video, number) for number in reader.damaged)

    def _record(
        self, video: Video, fingerprint: Fingerprint, infos: Sequence[ClipInfo], damaged_frames: int
    ) -> None:
        entry = ShardedVideo(
            video=video.name,
            fingerprint=fingerprint.value,
            clips=len(infos),
            frames=sum(info.frames for info in infos),
            height=infos[0].height,
            width=infos[0].width,
            damaged_frames=damaged_frames,
        )
        self._tell(entry)

    def _tell(self, entry: ShardedVideo) -> None:
        self.cut.append(entry)
        if entry.damaged_frames:
            damaged = f"{entry.damaged_frames} damaged frames of {printable(entry.video)}"
            self._progress.message(f"{self._owner}: {damaged} are left out")

    def _skip(self, video: Video, fingerprint: Fingerprint, problem: str) -> None:
        reason = printable(problem.removeprefix(f"{video.name}: "))
        self.skipped.append(SkippedVideo(video=video.name, reason=reason, fingerprint=fingerprint.value))
        self._progress.message(f"{self._owner}: {printable(video.name)} is left out: {reason}")


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


def _describe(name: str, source: str, first_frame: int, fps: float, frames: Frames) -> ClipInfo:
    length, height, width = frames.shape[:3]
    return ClipInfo(
        name=name,
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
