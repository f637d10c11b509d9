"""The interface of a storage: how the frames of a shard are stored in its file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from fedvsr.errors import ShardError
from fedvsr.video.frames import Frames
from fedvsr.video.pixels import Pixels
from fedvsr.video.shards import ClipInfo

Piece = tuple[ClipInfo, Frames]
"""Consecutive frames of a clip, and their description. Its name is the number of its first frame."""


class Storage(ABC):
    """Stores frames as they are: what is read is what the video's decoder gave, pixel by pixel.

    Attributes:
        description: What it is, in one line.
        suffix: The ending of a shard's key.
    """

    description: ClassVar[str]
    suffix: ClassVar[str] = ".safetensors"

    @abstractmethod
    def open(self, path: Path, frames: int) -> Pixels:
        """Opens a shard.

        Args:
            path: The file.
            frames: Number of frames in it, T.

        Returns:
            The pixels of all its frames, uint8 (T, H, W, 3). A slice reads little more than its pixels.

        Raises:
            fedvsr.errors.ShardError: The file is not a shard of this storage, or has not so many frames.
        """


class PixelStorage(Storage):
    """A storage that is made from pixels, whatever they come from."""

    @abstractmethod
    def write(self, path: Path, kind: str, pieces: Sequence[Piece]) -> None:
        """Writes a shard. The same pieces give the same bytes.

        Args:
            path: The file to write; its folder exists.
            kind: `fedvsr.video.shards.GROUND_TRUTH`, or a result of `fedvsr.video.shards.shard_kind`.
            pieces: At least one, all of the same height and width.

        Raises:
            fedvsr.errors.StoreError: The file cannot be written, for example because the disk is full.
        """


def group_pieces(clips: Iterator[Piece], most_bytes: int) -> Iterator[list[Piece]]:
    """Divides clips into the pieces of one shard after the other.

    Args:
        clips: The clips of a video, in order; one at a time is in memory, and the frames of one shard.
        most_bytes: Most bytes of pixels in a shard. A frame is never divided, so a shard of one frame may
            have more.

    Yields:
        At least one piece each time.
    """
    pieces: list[Piece] = []
    space = most_bytes
    for info, frames in clips:
        frame_bytes = info.height * info.width * 3
        start = 0
        while start < info.frames:
            count = min(info.frames - start, max(space // frame_bytes, 0 if pieces else 1))
            if count:
                pieces.append(_piece(info, frames, start, count))
                space -= count * frame_bytes
                start += count
            if start < info.frames:
                yield pieces
                pieces, space = [], most_bytes
    if pieces:
        yield pieces


def _piece(info: ClipInfo, frames: Frames, start: int, count: int) -> Piece:
    first_frame = info.first_frame + start
    update = {"name": str(first_frame), "first_frame": first_frame, "frames": count}
    # Copied, because the clip's memory is freed before its last piece is written.
    return info.model_copy(update=update), frames[start : start + count].copy()


def check_frames(path: Path, expected: int, actual: int) -> None:
    """Checks the number of frames in a shard.

    Raises:
        fedvsr.errors.ShardError: It is another number.
    """
    if actual != expected:
        raise ShardError(f"{path}: expected {expected} frames, found {actual}; delete it and make it again")
