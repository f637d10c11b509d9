"""Shards: files of many clips, of which training reads any patch without decoding.

A client has one shard of ground truth and one for each degradation, with the same clips in the same
order, so that a second scale does not store the ground truth twice.

The format (version 1), for readers in other languages. A shard is a safetensors file
(https://github.com/huggingface/safetensors#format), little-endian:

- bytes 0 to 8: N, the length of the header, an unsigned 64-bit integer; 8 + N divides by 8;
- N bytes of JSON in ASCII, padded at the end with spaces. For each clip, under its name, in the order
  of the data: ``{"data_offsets":[begin,end],"dtype":"U8","shape":[T,H,W,3]}``, offsets counted from
  byte 8 + N. Under ``__metadata__`` one key, ``fedvsr``, whose value is a string of JSON (below);
- the clips' pixels, one clip after the other without gaps, up to the end of the file. A clip is
  T·H·W·3 unsigned bytes: frame by frame, row by row, pixel by pixel, red, green, blue.

The metadata is one string because safetensors' own writers do not keep the order of several keys::

    {"clips":[{"first_frame":0,"fps":24.0,"frames":32,"height":216,"label":null,"name":"a/000000",
               "source":"a.mp4","width":384}, …],
     "format":"fedvsr-shard","kind":"bi-x4","version":1}

``clips`` are in the order of the data, and ``frames``, ``height`` and ``width`` are those of the
tensor. ``kind`` is ``frames`` for ground truth, else the degradation and the scale. JSON keys are
sorted and no spaces stand between tokens, so equal clips give equal bytes.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedvsr.errors import ShardError, StoreError
from fedvsr.store.base import file_digest
from fedvsr.video.frames import Frames

GROUND_TRUTH = "frames"
"""The kind of a shard of ground truth."""

_FORMAT = "fedvsr-shard"
_VERSION = 1
_METADATA = "__metadata__"
_LENGTH_BYTES = 8
# safetensors' own readers refuse longer headers.
_LONGEST_HEADER = 100_000_000

Count = Annotated[int, Field(ge=1)]


class ClipInfo(BaseModel):
    """One clip of a shard.

    Attributes:
        name: Its name, of its own within the shard.
        frames: How many frames it has.
        height: In pixels, in this shard.
        width: In pixels, in this shard.
        fps: Frames per second.
        source: The name of the video it was cut from.
        first_frame: The clip's first frame in that video, counted from 0.
        label: What is seen, for partitions by label; None if unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    frames: Count
    height: Count
    width: Count
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: str
    first_frame: Annotated[int, Field(ge=0)] = 0
    label: str | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the clip's pixels, (T, H, W, 3)."""
        return self.frames, self.height, self.width, 3


class ShardInfo(BaseModel):
    """A shard that was written.

    Attributes:
        digest: The file's SHA-256 in hexadecimal.
        bytes: The file's size.
        clips: Its clips, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    bytes: int
    clips: tuple[ClipInfo, ...]


class _Metadata(BaseModel):
    """The JSON under ``fedvsr`` in the header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedvsr-shard"] = "fedvsr-shard"
    version: Literal[1] = 1
    kind: Annotated[str, Field(pattern=r"^(frames|[A-Za-z_][A-Za-z0-9_.:-]*-x[1-9][0-9]*)$")]
    clips: tuple[ClipInfo, ...]


def degraded_kind(degradation: str, scale: int) -> str:
    """Returns the kind of a shard of degraded frames, such as ``bi-x4``."""
    return f"{degradation}-x{scale}"


def write_shard(path: Path, kind: str, clips: Iterable[tuple[ClipInfo, Frames]]) -> ShardInfo:
    """Writes a shard; one clip at a time is in memory.

    The file appears under its name complete or not at all, and equal clips give equal bytes. While
    writing, twice the shard's size is needed beside ``path``.

    Args:
        path: Where the shard goes; a file that is there is replaced.
        kind: `GROUND_TRUTH`, or what `degraded_kind` returns.
        clips: Each clip's description and its pixels, uint8 (T, H, W, 3).

    Raises:
        fedvsr.errors.ShardError: There is no clip, two have one name, or a description does not fit
            its pixels.
        fedvsr.errors.StoreError: The disk is full or refuses the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The header comes first but is known last, so the pixels wait in a nameless file.
        with tempfile.TemporaryFile(dir=path.parent) as pixels:
            infos = _write_pixels(path, pixels, clips)
            header = _header(path, kind, infos)
            pixels.seek(0)
            with temporary.open("wb") as file:
                file.write(header)
                shutil.copyfileobj(pixels, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
        info = ShardInfo(digest=file_digest(temporary), bytes=temporary.stat().st_size, clips=tuple(infos))
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"{path}: the shard could not be written ({error.strerror}); nothing was changed, "
            "so make room or choose another folder and run this again"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return info


def _write_pixels(path: Path, file: BinaryIO, clips: Iterable[tuple[ClipInfo, Frames]]) -> list[ClipInfo]:
    infos: dict[str, ClipInfo] = {}
    for info, frames in clips:
        if info.name in infos or info.name == _METADATA:
            raise ShardError(f"{path}: the clip name {info.name!r} is taken; give each clip its own")
        if frames.dtype != np.uint8 or frames.shape != info.shape:
            raise ShardError(
                f"{path}: clip {info.name!r} is described as uint8 {info.shape}, "
                f"but its pixels are {frames.dtype} {frames.shape}; describe it as it is"
            )
        file.write(np.ascontiguousarray(frames).data)
        infos[info.name] = info
    return list(infos.values())


def _header(path: Path, kind: str, infos: list[ClipInfo]) -> bytes:
    if not infos:
        raise ShardError(f"{path}: a shard without clips was asked for; give at least one")
    try:
        metadata = _Metadata(kind=kind, clips=tuple(infos))
    except ValidationError as error:
        raise ShardError(
            f"{path}: the kind {kind!r} is neither {GROUND_TRUTH!r} nor what degraded_kind returns"
        ) from error
    header: dict[str, Any] = {_METADATA: {"fedvsr": _json(metadata.model_dump())}}
    begin = 0
    for info in infos:
        end = begin + int(np.prod(info.shape, dtype=np.int64))
        header[info.name] = {"data_offsets": [begin, end], "dtype": "U8", "shape": info.shape}
        begin = end
    # Only the keys within a clip are sorted; the clips themselves are in the order of the data.
    members = ",".join(f"{_json(name)}:{_json(value)}" for name, value in header.items())
    encoded = ("{" + members + "}").encode("ascii")
    encoded += b" " * (-len(encoded) % _LENGTH_BYTES)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Shard:
    """A shard that is open for reading, mapped into memory.

    ``shard["clip"]`` is a read-only uint8 (T, H, W, 3) view of the file: slicing it and copying the
    slice reads only the pages that hold these pixels.

    Attributes:
        path: The file.
        kind: What its clips are: `GROUND_TRUTH`, or a degradation and scale such as ``bi-x4``.
        clips: The clips' descriptions by name, in the file's order.
    """

    def __init__(self, path: Path, kind: str, clips: Iterable[ClipInfo], first_byte: int) -> None:
        self.path = path
        self.kind = kind
        self.clips = {clip.name: clip for clip in clips}
        # A plain array over the mapping: np.memmap itself makes every slice slower.
        data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        self._frames: dict[str, Frames] = {}
        for clip in self.clips.values():
            end = first_byte + int(np.prod(clip.shape, dtype=np.int64))
            self._frames[clip.name] = data[first_byte:end].reshape(clip.shape)
            first_byte = end

    def __getitem__(self, name: str) -> Frames:
        """Returns a clip's pixels.

        Raises:
            fedvsr.errors.ShardError: The shard has no clip of that name.
        """
        if name not in self._frames:
            raise ShardError(
                f"{self.path}: has no clip {name!r} among its {len(self)}; make the shards again"
            )
        return self._frames[name]

    def __contains__(self, name: object) -> bool:
        return name in self._frames

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def open_shard(path: Path) -> Shard:
    """Opens a shard for reading and checks its header and size, but not its pixels.

    Whether the pixels are those that were written is told by the file's digest
    (`ShardInfo.digest`), which a store checks when it hands the file out.

    Raises:
        fedvsr.errors.ShardError: The file is missing, no shard, cut short, or of a version that this
            fedvsr does not read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > min(_LONGEST_HEADER, size - _LENGTH_BYTES):
                raise _broken(path, f"a header of {length} bytes is announced in a file of {size}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise ShardError(f"{path}: cannot be opened ({error.strerror}); make the shards again") from error
    except ValueError as error:
        raise _broken(path, f"its header is no JSON ({error})") from error
    metadata = _read_metadata(path, header)
    first_byte = _LENGTH_BYTES + length
    expected = first_byte + _check_tensors(path, header, metadata.clips)
    if size != expected:
        raise _broken(path, f"expected {expected} bytes, found {size}")
    return Shard(path, metadata.kind, metadata.clips, first_byte)


def _broken(path: Path, reason: str) -> ShardError:
    return ShardError(f"{path}: {reason}; delete the shard and make it again")


def _read_metadata(path: Path, header: Any) -> _Metadata:
    try:
        values = json.loads(header[_METADATA]["fedvsr"])
        name, version = values["format"], values["version"]
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(path, "is no shard of fedvsr: its header has no 'fedvsr' metadata") from error
    if (name, version) != (_FORMAT, _VERSION):
        raise _broken(path, f"expected {_FORMAT} version {_VERSION}, found {name!r} version {version!r}")
    try:
        return _Metadata.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _broken(path, f"the field {where!r} of its metadata is wrong ({first['msg']})") from error


def _check_tensors(path: Path, header: dict[str, Any], clips: tuple[ClipInfo, ...]) -> int:
    """Checks that the header's tensors are the clips, in order and without gaps; returns their bytes."""
    if [name for name in header if name != _METADATA] != [clip.name for clip in clips]:
        raise _broken(path, "the header's tensors are not the clips that its metadata lists")
    begin = 0
    for clip in clips:
        end = begin + int(np.prod(clip.shape, dtype=np.int64))
        expected = {"data_offsets": [begin, end], "dtype": "U8", "shape": list(clip.shape)}
        if header[clip.name] != expected:
            raise _broken(path, f"clip {clip.name!r}: expected {expected}, found {header[clip.name]}")
        begin = end
    return begin
