"""Compressed tiles: half as large as raw pixels, and a patch is read by decompressing only its tiles.

This is version 2 of the format, for readers in other languages. As in version 1 (`fedvsr.video.shards`), a
shard is a safetensors file whose key ``__metadata__`` has one string of JSON under ``fedvsr``::

    {"clips":[…],"format":"fedvsr-shard","kind":"frames","tile":128,"version":2}

``clips`` are the pieces in the order of the data, all of one height H and width W. There are two tensors:

- ``ends``: U64 (T, ⌈H/tile⌉, ⌈W/tile⌉), the position in ``tiles`` at which each tile ends, in C order. A tile
  begins at the end of the tile before it.
- ``tiles``: U8, the tiles of one frame after the other, row by row.

A tile is one Zstandard frame (RFC 8878) with its content size. Its content is three planes of h × w bytes:
green, red − green and blue − green, modulo 256. In a plane, every pixel but the first of a row is stored as
its difference from the pixel to its left, modulo 256. Neighbouring pixels and colours are alike, so the
differences are small.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import zstandard
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedvsr.errors import ShardError, StoreError
from fedvsr.video.frames import Frames
from fedvsr.video.pixels import ranges_of
from fedvsr.video.shards import ClipInfo
from fedvsr.video.storage.base import Piece, PixelStorage, check_frames

_TILE: Final = 128
# Higher levels take several times longer and save 1 % here.
_LEVEL: Final = 1
_METADATA: Final = "fedvsr"


class _Metadata(BaseModel):
    """The JSON of the header's key ``fedvsr``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedvsr-shard"] = "fedvsr-shard"
    version: Literal[2] = 2
    kind: str
    tile: Annotated[int, Field(ge=8, le=4096)] = _TILE
    clips: Annotated[tuple[ClipInfo, ...], Field(min_length=1)]


class LosslessStorage(PixelStorage):
    """Compresses tiles of 128 × 128 pixels without loss."""

    description = "tiles compressed without loss: about half of raw; a patch decompresses its tiles only"

    def write(self, path: Path, kind: str, pieces: Sequence[Piece]) -> None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        tiles = [
            compressor.compress(_filter(frame[rows, columns]))
            for info, frames in pieces
            for frame in frames
            for rows, columns in _tiles(info.height, info.width)
        ]
        first = pieces[0][0]
        shape = (-1, -(-first.height // _TILE), -(-first.width // _TILE))
        ends = np.cumsum([len(tile) for tile in tiles], dtype=np.uint64).reshape(shape)
        metadata = _Metadata(kind=kind, clips=tuple(info for info, _ in pieces))
        tensors: dict[str, NDArray[Any]] = {"ends": ends, "tiles": np.frombuffer(b"".join(tiles), np.uint8)}
        try:
            save_file(tensors, path, {_METADATA: json.dumps(metadata.model_dump(), sort_keys=True)})
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"{path}: the shard could not be written ({error}); make room or choose another folder and "
                "run this again"
            ) from error

    def open(self, path: Path, frames: int) -> "LosslessFrames":
        try:
            with safe_open(path, framework="np") as file:
                metadata = _Metadata.model_validate_json((file.metadata() or {}).get(_METADATA, ""))
                ends = file.get_tensor("ends")
            # Mapped, so that a patch reads only its tiles from the disk. `tiles` is the last tensor.
            data = np.memmap(path, np.uint8, "r")
        except (OSError, SafetensorError, ValidationError) as error:
            raise ShardError(
                f"{path} is not a lossless shard of version 2 ({error}); delete it and make it again"
            ) from error
        pixels = LosslessFrames(path, metadata, ends, np.asarray(data[data.size - int(ends[-1, -1, -1]) :]))
        check_frames(path, frames, pixels.shape[0])
        return pixels


class LosslessFrames:
    """The frames of a lossless shard.

    Args:
        path: The file, for messages.
        metadata: Its metadata.
        ends: Where each tile ends, uint64 (T, rows, columns).
        tiles: The compressed tiles, uint8.

    Attributes:
        shape: (T, H, W, 3).

    Raises:
        fedvsr.errors.ShardError: The ends do not fit the metadata.
    """

    def __init__(
        self, path: Path, metadata: _Metadata, ends: NDArray[np.uint64], tiles: NDArray[np.uint8]
    ) -> None:
        self._path, self._tile, self._tiles = path, metadata.tile, tiles
        height, width = metadata.clips[0].height, metadata.clips[0].width
        self.shape = (sum(clip.frames for clip in metadata.clips), height, width, 3)
        self._grid = (-(-height // self._tile), -(-width // self._tile))
        if ends.shape != (self.shape[0], *self._grid):
            raise ShardError(
                f"{path}: expected {(self.shape[0], *self._grid)} tiles, found {ends.shape}; make it again"
            )
        self._ends = np.concatenate(([0], ends.ravel())).astype(np.int64)

    def __getitem__(self, key: Any, /) -> Frames:
        """Returns the pixels selected by up to three slices of step 1: frames, rows, columns."""
        frames, rows, columns = ranges_of(key, self.shape)
        result = np.empty((len(frames), len(rows), len(columns), 3), np.uint8)
        decompressor = zstandard.ZstdDecompressor()
        for target, frame in zip(result, frames, strict=True):
            for row in _tiles_of(rows, self._tile):
                for column in _tiles_of(columns, self._tile):
                    self._copy(decompressor, frame, row, column, (rows.start, columns.start), target)
        return result

    def _copy(
        self,
        decompressor: zstandard.ZstdDecompressor,
        frame: int,
        row: int,
        column: int,
        origin: tuple[int, int],
        target: Frames,
    ) -> None:
        """Copies the part of a tile that lies in ``target``, whose first pixel is at ``origin``."""
        number = (frame * self._grid[0] + row) * self._grid[1] + column
        begin, end = self._ends[number], self._ends[number + 1]
        top, left = row * self._tile, column * self._tile
        height, width = min(self._tile, self.shape[1] - top), min(self._tile, self.shape[2] - left)
        try:
            content = decompressor.decompress(self._tiles[begin:end].data)
            planes = np.frombuffer(content, np.uint8).reshape(3, height, width)
        except (zstandard.ZstdError, ValueError) as error:
            raise ShardError(
                f"{self._path}: tile {number} of frame {frame} cannot be read ({error}); make it again"
            ) from error
        y, x = top - origin[0], left - origin[1]
        into = target[max(y, 0) : y + height, max(x, 0) : x + width]
        first_row, first_column = max(-y, 0), max(-x, 0)
        stop = first_column + into.shape[1]
        # Columns after the patch are not needed to restore those in it.
        planes = planes[:, first_row : first_row + into.shape[0], :stop].cumsum(axis=2, dtype=np.uint8)
        green, red, blue = planes[:, :, first_column:]
        into[..., 1] = green
        np.add(red, green, out=into[..., 0])
        np.add(blue, green, out=into[..., 2])


def _filter(tile: Frames) -> bytes:
    green = tile[..., 1]
    planes = np.stack((green, tile[..., 0] - green, tile[..., 2] - green))
    # From right to left, because each difference needs the pixel before it unchanged.
    planes[:, :, 1:] -= planes[:, :, :-1].copy()
    return planes.tobytes()


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for top, left in product(range(0, height, _TILE), range(0, width, _TILE)):
        yield slice(top, top + _TILE), slice(left, left + _TILE)


def _tiles_of(pixels: range, tile: int) -> range:
    """Returns the numbers of the tiles in which pixels lie."""
    return range(pixels.start // tile, -(-pixels.stop // tile)) if pixels else range(0)
