"""Raw pixels: the fastest to read from a disk, and the largest."""

from collections.abc import Sequence
from pathlib import Path

from fedvsr.video.frames import Frames
from fedvsr.video.shards import open_shard, write_shard
from fedvsr.video.storage.base import Piece, PixelStorage, check_frames


class RawStorage(PixelStorage):
    """Stores pixels as they are in memory: version 1 of the format (`fedvsr.video.shards`)."""

    description = "raw pixels: fastest; an hour of 1080p at 24 fps takes 537 GB"

    def write(self, path: Path, kind: str, pieces: Sequence[Piece]) -> None:
        write_shard(path, kind, pieces)

    def open(self, path: Path, frames: int) -> Frames:
        pixels = open_shard(path).all_frames()
        check_frames(path, frames, len(pixels))
        return pixels
