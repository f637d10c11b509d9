"""Writes frames as PNG images in a folder."""

from pathlib import Path

import cv2
import numpy as np

from fedvsr.video.frames import AnyFrames
from fedvsr.video.writing.finished_files import discard, partial_path, publish
from fedvsr.video.writing.resume_record import ResumeRecord, check_same, read_record, write_record
from fedvsr.video.writing.video_encoder import VideoSettings

IMAGES = "images"


class FolderSink:
    """Writes frames as PNG images with 8 or 16 bits, named as in REDS (``00000000.png``).

    Args:
        path: The folder; it does not exist or is empty.
    """

    frames_kept = 0
    kept_size = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._frames = 0
        discard(self._partial)
        self._partial.mkdir()

    def open(self, settings: VideoSettings) -> None:
        """Does nothing: images need no preparation."""

    def write(self, frame: AnyFrames, ticks: int) -> None:
        (self._partial / _image_name(self._frames)).write_bytes(_encode_image(frame))
        self._frames += 1

    def finish(self, settings: VideoSettings, duration: int | None) -> None:
        publish(self._partial, self._path)

    def discard(self) -> None:
        discard(self._partial)


class ResumableFolderSink:
    """Writes frames as `FolderSink` does, and keeps them for a later run if the writing stops.

    Args:
        path: The folder; it does not exist or is empty.
        kept: The hidden folder for the finished images.
        record: The settings of this run.
    """

    def __init__(self, path: Path, kept: Path, record: ResumeRecord) -> None:
        self._path = path
        self._kept = kept
        self._record = record
        self._images = kept / IMAGES
        before = read_record(kept)
        if before is None:
            discard(kept)
            self._images.mkdir(parents=True)
        else:
            check_same(kept, before, record)
        self.kept_size = before.size if before else None
        self.frames_kept = 0
        while (self._images / _image_name(self.frames_kept)).exists():
            self.frames_kept += 1
        self._frames = self.frames_kept

    def open(self, settings: VideoSettings) -> None:
        record = self._record.model_copy(update={"size": settings.size})
        before = read_record(self._kept)
        if before is None:
            write_record(self._kept, record)
        else:
            check_same(self._kept, before, record)

    def write(self, frame: AnyFrames, ticks: int) -> None:
        path = self._images / _image_name(self._frames)
        partial = partial_path(path)
        partial.write_bytes(_encode_image(frame))
        publish(partial, path)
        self._frames += 1

    def finish(self, settings: VideoSettings, duration: int | None) -> None:
        for stale in self._images.glob(".*"):
            discard(stale)
        publish(self._images, self._path)
        discard(self._kept)

    def discard(self) -> None:
        if self._kept.exists() and self._frames == 0:
            discard(self._kept)


def _image_name(number: int) -> str:
    return f"{number:08d}.png"


def _encode_image(frame: AnyFrames) -> bytes:
    blue_first = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
    # cv2.imwrite would print the reason of a failure on stderr.
    _, encoded = cv2.imencode(".png", blue_first)
    return encoded.tobytes()
