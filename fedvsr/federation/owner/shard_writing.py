"""Writes the shards of one video, and its record after them."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.federation import layout
from fedvsr.federation.records import Record, write_record
from fedvsr.federation.shard_records import SOURCE, ShardedVideo, ShardFile, VideoRecord
from fedvsr.store.base import Store, bytes_digest, file_digest
from fedvsr.video.decode import VideoReader
from fedvsr.video.frames import Frames
from fedvsr.video.storage.base import Piece, PixelStorage, group_pieces
from fedvsr.video.storage.registry import STORAGES
from fedvsr.video.storage.source import cut_at_key_frames, frame_counts

# A shard is fetched as a whole, for example 6 frames of 1280 × 720 as raw pixels.
_MAX_SHARD_BYTES = 16 << 20
# A shard of the video's own stream is decoded from its start, so it is smaller. It has at least one group of
# pictures.
_MAX_SOURCE_BYTES = 2 << 20


@dataclass(frozen=True)
class ShardPlace:
    """Where the shards of one kind are written.

    Attributes:
        store: The owner's store.
        folder: The shards' folder.
        kind: The kind of shards.
        settings_digest: The digest of the settings that they are made with.
    """

    store: Store
    folder: str
    kind: str
    settings_digest: str

    def write_pixels(self, identity: str, entry: ShardedVideo, clips: Iterator[Piece]) -> ShardedVideo:
        """Writes a video's clips in the storage that its entry names, and then its record.

        Args:
            identity: The name of the folder of its shards.
            entry: Its entry, without shards.
            clips: Its clips, one at a time in memory.

        Returns:
            The entry with its shards.
        """
        storage = STORAGES[entry.storage]
        assert isinstance(storage, PixelStorage)
        shards = []
        with tempfile.TemporaryDirectory(prefix="fedvsr-shards-") as temporary:
            path = Path(temporary) / "shard"
            for pieces in group_pieces(clips, _MAX_SHARD_BYTES):
                storage.write(path, self.kind, pieces)
                frames = sum(info.frames for info, _ in pieces)
                shards.append(self._upload(identity, path, storage.suffix, frames))
        return self.write_record(identity, entry, tuple(shards))

    def copy_stream(
        self, identity: str, entry: ShardedVideo, path: Path, owned: range | None
    ) -> ShardedVideo | None:
        """Copies a video's own stream, and then writes its record.

        Args:
            identity: The name of the folder of its shards.
            entry: Its entry, without shards.
            path: The video.
            owned: The frames that are the owner's; None for all.

        Returns:
            The entry with its shards. None if the stream cannot be copied so that every frame stays the same:
            frames do not decode, depend on a frame before a key frame, or are not all the owner's.
        """
        if owned is not None or entry.damaged_frames or not path.is_file():
            return None
        with tempfile.TemporaryDirectory(prefix="fedvsr-stream-") as temporary:
            try:
                files = cut_at_key_frames(path, Path(temporary), _MAX_SOURCE_BYTES)
            except VideoError:
                return None
            with VideoReader[Frames](path) as reader:
                counts = frame_counts(files, reader)
            if counts is None:
                return None
            suffix = STORAGES[SOURCE].suffix
            shards = tuple(
                self._upload(identity, file, suffix, count) for file, count in zip(files, counts, strict=True)
            )
        return self.write_record(identity, entry, shards)

    def write_record(self, identity: str, entry: ShardedVideo, shards: tuple[ShardFile, ...]) -> ShardedVideo:
        """Writes a video's record after its shards; returns the entry with its shards."""
        size = sum(shard.bytes for shard in shards)
        content = entry.model_copy(update={"fingerprint": "", "shards": len(shards), "bytes": size})
        record = VideoRecord(kind=self.kind, entry=content, shards=shards)
        write_record(self.store, layout.video_record(self.folder, self.kind, identity), record)
        return _with_record(record, entry.fingerprint)

    def find(self, identity: str, fingerprint: str) -> ShardedVideo | None:
        """Returns the entry of a video whose shards were written, also if the manifest never was."""
        key = layout.video_record(self.folder, self.kind, identity)
        if not self.store.exists(key):
            return None
        record = VideoRecord.from_bytes(self.store.read(key), f"{self.store.uri}/{key}")
        suffix = STORAGES[record.entry.storage].suffix if record.shards else ""
        keys = (
            layout.video_shard(self.folder, self.kind, identity, shard.digest, suffix)
            for shard in record.shards
        )
        return _with_record(record, fingerprint) if all(map(self.store.exists, keys)) else None

    def _upload(self, identity: str, path: Path, suffix: str, frames: int) -> ShardFile:
        digest = file_digest(path)
        self.store.upload(layout.video_shard(self.folder, self.kind, identity, digest, suffix), path)
        return ShardFile(digest=digest, bytes=path.stat().st_size, frames=frames)


def _with_record(record: Record, fingerprint: str) -> ShardedVideo:
    """Returns the manifest's entry for a video's record."""
    assert isinstance(record, VideoRecord)
    update = {"fingerprint": fingerprint, "record": bytes_digest(record.to_bytes())}
    return record.entry.model_copy(update=update)
