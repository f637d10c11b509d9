"""The frames of an owner's shards, read when they are needed and checked when they are read first."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from threading import Lock
from typing import Any

import numpy as np

from fedvsr.errors import ShardError
from fedvsr.federation import layout
from fedvsr.federation.shard_records import ShardedVideo, ShardFile, VideoRecord
from fedvsr.store.base import Store, check_bytes
from fedvsr.video.frames import Frames
from fedvsr.video.pixels import Pixels, ranges_of
from fedvsr.video.storage.registry import STORAGES

# Open shards of one kind. They are mapped or decoded in parts, so they take hardly any memory, but file
# handles and address space.
_MAX_OPEN = 128


class KindOfShards:
    """One kind of shards of an owner, of which the most recently used ones are open.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        kind: The kind of shards.
    """

    def __init__(self, store: Store, folder: str, kind: str) -> None:
        self._store, self._folder, self._kind = store, folder, kind
        self._lock = Lock()
        self._open: OrderedDict[str, Pixels] = OrderedDict()

    def open(self, storage: str, identity: str, shard: ShardFile) -> Pixels:
        """Returns the pixels of a shard. Its digest is checked when it is opened.

        Several threads may call this. Two that need the same shard at the same time both open it.

        Raises:
            fedvsr.errors.DataError: The shard's bytes are not those that its record names.
            fedvsr.errors.NotFoundError: The shard does not exist.
        """
        suffix = STORAGES[storage].suffix
        key = layout.video_shard(self._folder, self._kind, identity, shard.digest, suffix)
        with self._lock:
            pixels = self._open.get(key)
            if pixels is not None:
                self._open.move_to_end(key)
                return pixels
        pixels = STORAGES[storage].open(self._store.local(key, shard.digest), shard.frames)
        with self._lock:
            self._open[key] = pixels
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        return pixels

    def read_video(self, identity: str, digest: str) -> VideoRecord:
        """Returns a video's record.

        Raises:
            fedvsr.errors.DataError: It is not the one that the manifest names.
            fedvsr.errors.NotFoundError: It does not exist.
        """
        key = layout.video_record(self._folder, self._kind, identity)
        data = self._store.read(key)
        check_bytes(data, digest, f"{self._store.uri}/{key}")
        return VideoRecord.from_bytes(data, key)


class StoredVideoFrames:
    """All frames in the shards of a video. Its record is read with the first frame.

    Args:
        shards: The kind of shards.
        identity: The video's identity in the store.
        entry: The video's entry in the manifest.
    """

    def __init__(self, shards: KindOfShards, identity: str, entry: ShardedVideo) -> None:
        self._shards, self._identity, self._entry = shards, identity, entry

    @cached_property
    def _files(self) -> Sequence[ShardFile]:
        return self._shards.read_video(self._identity, self._entry.record).shards

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(shard.frames for shard in self._files))

    def read(self, start: int, stop: int, rows: slice, columns: slice) -> Frames:
        """Returns a part of the frames from ``start`` to ``stop`` − 1, of which there is at least one."""
        parts = []
        for shard, end in zip(self._files, self._ends, strict=True):
            begin = end - shard.frames
            if begin < stop and start < end:
                pixels = self._shards.open(self._entry.storage, self._identity, shard)
                part = slice(max(start - begin, 0), min(stop - begin, shard.frames))
                parts.append(pixels[part, rows, columns])
        if not parts or stop > self._ends[-1]:
            raise ShardError(
                f"the shards of {self._entry.video!r} have {self._ends[-1]} frames, and frame {stop - 1} was "
                "asked for; run the shard step again"
            )
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class StoredClipFrames:
    """The frames of one clip; nothing is read before a slice is taken.

    Args:
        video: The frames of its video.
        position: The position of its first frame among them.
        shape: (T, H, W, 3); H and W may be smaller than in the shards, which crops at the bottom and right.

    Attributes:
        shape: (T, H, W, 3).
    """

    def __init__(self, video: StoredVideoFrames, position: int, shape: tuple[int, int, int, int]) -> None:
        self._video, self._position = video, position
        self.shape = shape

    def __getitem__(self, key: Any, /) -> Frames:
        """Returns the pixels selected by up to three slices of step 1: frames, rows, columns."""
        frames, rows, columns = ranges_of(key, self.shape)
        if not frames:
            return np.empty((0, len(rows), len(columns), 3), np.uint8)
        return self._video.read(
            self._position + frames.start,
            self._position + frames.stop,
            slice(rows.start, rows.stop),
            slice(columns.start, columns.stop),
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Frames:
        """Returns all pixels, so that NumPy's functions accept a clip."""
        return np.asarray(self[:], dtype)
