"""Shards: files of many clips, from which training reads any patch without decoding.

Ground-truth frames and each kind of low-resolution frames are in separate shards with the same clips in the
same order. So the ground truth is stored once for all scales.

This is version 1 of the format, for readers in other languages. A shard is a safetensors file
(https://github.com/huggingface/safetensors#format). It is little-endian and has three parts:

- 8 bytes: N, the length of the header, an unsigned 64-bit integer. 8 + N is a multiple of 8.
- N bytes: the header, JSON in ASCII, padded at the end with spaces. Each clip's name is a key, in the
  order of the data, with the value ``{"data_offsets":[begin,end],"dtype":"U8","shape":[T,H,W,3]}``.
  Offsets count from byte 8 + N. The key ``__metadata__`` has an object with one key, ``fedvsr``, whose
  value is a string of JSON (see below).
- The rest of the file: the clips' pixels, one clip after the other without gaps. A clip is T·H·W·3
  unsigned bytes: frame by frame, row by row, pixel by pixel, in the order red, green, blue.

The metadata is one string, because safetensors' writers do not keep the order of several keys::

    {"clips":[{"first_frame":0,"fps":24.0,"frames":32,"height":216,"label":null,"name":"a/000000",
               "source":"a.mp4","width":384}, …],
     "format":"fedvsr-shard","kind":"bi-x4","version":1}

``clips`` is in the order of the data; ``frames``, ``height`` and ``width`` are those of the tensor.
``kind`` is ``frames`` for ground truth, otherwise the degradation and the scale. JSON keys are sorted
and there is no space between tokens, so equal clips give equal bytes.
"""

import json
import math
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
"""The kind of a ground-truth shard."""

RESERVED_NAME = "__metadata__"
"""The name that no clip can have: the header's key of the metadata."""

_FORMAT = "fedvsr-shard"
_VERSION = 1
_LENGTH_BYTES = 8
# The limit of safetensors' own readers.
_MAX_HEADER_BYTES = 100_000_000

Count = Annotated[int, Field(ge=1)]


class ClipInfo(BaseModel):
    """One clip of a shard.

    Attributes:
        name: The clip's name, unique in the shard.
        frames: Number of frames, T.
        height: Height in this shard in pixels, H.
        width: Width in this shard in pixels, W.
        fps: Frames per second, above 0.
        source: The name of the video from which the clip was cut.
        first_frame: The clip's first frame in that video, counted from 0.
        label: What the clip shows; None if unknown.
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

    @property
    def pixel_bytes(self) -> int:
        """Size of the clip's pixels in bytes."""
        return math.prod(self.shape)


class ShardInfo(BaseModel):
    """Describes a written shard.

    Attributes:
        digest: The file's SHA-256 in hexadecimal.
        size_bytes: The file's size in bytes.
        clips: The clips, in the file's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    size_bytes: int
    clips: tuple[ClipInfo, ...]


class _Metadata(BaseModel):
    """The JSON of the header's key ``fedvsr``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedvsr-shard"] = "fedvsr-shard"
    version: Literal[1] = 1
    kind: Annotated[str, Field(pattern=r"^(frames|[A-Za-z_][A-Za-z0-9_.:-]*-x[1-9][0-9]*)$")]
    clips: tuple[ClipInfo, ...]


def shard_kind(degradation: str, scale: int) -> str:
    """Returns the kind of the low-resolution shards of a degradation and scale, such as ``bi-x4``."""
    return f"{degradation}-x{scale}"


def write_shard(path: Path, kind: str, clips: Iterable[tuple[ClipInfo, Frames]]) -> ShardInfo:
    """Writes a shard with one clip at a time in memory.

    The file is complete when it appears under its name. Equal clips give equal bytes. Writing needs twice the
    shard's size on the disk of ``path``.

    Args:
        path: The file to write. An existing file is replaced; missing parent folders are created.
        kind: `GROUND_TRUTH`, or a result of `shard_kind`.
        clips: Each clip's description and pixels, uint8 (T, H, W, 3); at least one clip.

    Returns:
        The written shard's digest, size and clips.

    Raises:
        fedvsr.errors.ShardError: There is no clip, two clips have the same name, a description does
            not match its pixels, or ``kind`` is invalid.
        fedvsr.errors.StoreError: The file cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The header comes first but is known last, so the pixels are first written to a temporary file.
        with tempfile.TemporaryFile(dir=path.parent) as pixels:
            infos = _write_pixels(path, pixels, clips)
            header = _header(path, kind, infos)
            pixels.seek(0)
            with temporary.open("wb") as file:
                file.write(header)
                shutil.copyfileobj(pixels, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
        info = ShardInfo(
            digest=file_digest(temporary), size_bytes=temporary.stat().st_size, clips=tuple(infos)
        )
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
        if info.name in infos or info.name == RESERVED_NAME:
            raise ShardError(f"{path}: the clip name {info.name!r} is taken; give each clip its own name")
        if frames.dtype != np.uint8 or frames.shape != info.shape:
            raise ShardError(
                f"{path}: clip {info.name!r} is described as uint8 {info.shape}, "
                f"but its pixels are {frames.dtype} {frames.shape}; correct the description"
            )
        file.write(np.ascontiguousarray(frames).data)
        infos[info.name] = info
    return list(infos.values())


def _header(path: Path, kind: str, infos: list[ClipInfo]) -> bytes:
    if not infos:
        raise ShardError(f"{path}: a shard without clips cannot be written; give at least one")
    try:
        metadata = _Metadata(kind=kind, clips=tuple(infos))
    except ValidationError as error:
        raise ShardError(
            f"{path}: the kind {kind!r} is neither {GROUND_TRUTH!r} nor a result of shard_kind"
        ) from error
    header: dict[str, Any] = {RESERVED_NAME: {"fedvsr": _json(metadata.model_dump())}}
    begin = 0
    for info in infos:
        end = begin + info.pixel_bytes
        header[info.name] = {"data_offsets": [begin, end], "dtype": "U8", "shape": info.shape}
        begin = end
    # _json sorts the keys of each clip, but the clips must stay in the order of the data.
    members = ",".join(f"{_json(name)}:{_json(value)}" for name, value in header.items())
    encoded = ("{" + members + "}").encode("ascii")
    encoded += b" " * (-len(encoded) % _LENGTH_BYTES)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Shard:
    """An open shard, mapped into memory: a mapping from clip names to pixels.

    ``shard["clip"]`` is a read-only uint8 (T, H, W, 3) view of the file. Copying a slice of it reads
    only the pages that hold the slice's pixels.

    Args:
        path: The file.
        kind: `GROUND_TRUTH`, or a degradation and scale such as ``bi-x4``.
        clips: The clips' descriptions, in the file's order.
        first_byte: The position of the first pixel in the file.

    Attributes:
        path: The file.
        kind: The kind of the clips.
        clips: The clips' descriptions by name, in the file's order.
    """

    def __init__(self, path: Path, kind: str, clips: Iterable[ClipInfo], first_byte: int) -> None:
        self.path = path
        self.kind = kind
        self.clips = {clip.name: clip for clip in clips}
        # A plain array over the mapping, because slicing an np.memmap is slower.
        data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        self._pixels = data[first_byte:]
        self._frames: dict[str, Frames] = {}
        for clip in self.clips.values():
            end = first_byte + clip.pixel_bytes
            self._frames[clip.name] = data[first_byte:end].reshape(clip.shape)
            first_byte = end

    def __getitem__(self, name: str) -> Frames:
        """Returns a clip's pixels, uint8 (T, H, W, 3), read-only.

        Raises:
            fedvsr.errors.ShardError: The shard has no clip with that name.
        """
        if name not in self._frames:
            raise ShardError(
                f"{self.path}: none of its {len(self)} clips is called {name!r}; make the shards again"
            )
        return self._frames[name]

    def all_frames(self) -> Frames:
        """Returns the pixels of all clips, one after the other: uint8 (T, H, W, 3), read-only.

        Raises:
            fedvsr.errors.ShardError: The clips have different sizes.
        """
        sizes = {(clip.height, clip.width) for clip in self.clips.values()}
        if len(sizes) > 1:
            raise ShardError(f"{self.path}: has clips of the sizes {sorted(sizes)}; make the shards again")
        return self._pixels.reshape(-1, *sizes.pop(), 3)

    def __contains__(self, name: object) -> bool:
        return name in self._frames

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def open_shard(path: Path) -> Shard:
    """Opens a shard for reading and checks its header and size.

    The pixels are not checked here. The file's digest (`ShardInfo.digest`) covers them, and a store checks it
    when it returns the file.

    Raises:
        fedvsr.errors.ShardError: The file is missing, not a shard, cut short, or of a version that
            this fedvsr does not read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
                raise _broken(path, f"a header of {length} bytes is too long for a file of {size} bytes")
            header = json.loads(file.read(length))
    except OSError as error:
        raise ShardError(f"{path}: cannot be opened ({error.strerror}); make the shards again") from error
    except ValueError as error:
        raise _broken(path, f"its header is not JSON ({error})") from error
    metadata = _read_metadata(path, header)
    first_byte = _LENGTH_BYTES + length
    _check_tensors(path, header, metadata.clips)
    expected = first_byte + sum(clip.pixel_bytes for clip in metadata.clips)
    if size != expected:
        raise _broken(path, f"expected {expected} bytes, found {size}")
    return Shard(path, metadata.kind, metadata.clips, first_byte)


def _broken(path: Path, reason: str) -> ShardError:
    """Returns the error for a file that is not a valid shard."""
    return ShardError(f"{path}: {reason}; delete the shard and make it again")


def _read_metadata(path: Path, header: Any) -> _Metadata:
    try:
        values = json.loads(header[RESERVED_NAME]["fedvsr"])
        name, version = values["format"], values["version"]
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(path, "is not a shard of fedvsr: its header has no 'fedvsr' metadata") from error
    if (name, version) != (_FORMAT, _VERSION):
        raise _broken(path, f"expected {_FORMAT} version {_VERSION}, found {name!r} version {version!r}")
    try:
        return _Metadata.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise _broken(path, f"the field {field!r} of its metadata is invalid ({problem['msg']})") from error


def _check_tensors(path: Path, header: dict[str, Any], clips: tuple[ClipInfo, ...]) -> None:
    """Checks that the header's tensors are the clips, in order and without gaps."""
    if [name for name in header if name != RESERVED_NAME] != [clip.name for clip in clips]:
        raise _broken(path, "the header's tensors are not the clips that its metadata lists")
    begin = 0
    for clip in clips:
        end = begin + clip.pixel_bytes
        expected = {"data_offsets": [begin, end], "dtype": "U8", "shape": list(clip.shape)}
        if header[clip.name] != expected:
            raise _broken(path, f"clip {clip.name!r}: expected {expected}, found {header[clip.name]}")
        begin = end
