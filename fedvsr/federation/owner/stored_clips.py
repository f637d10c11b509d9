"""The clips of an owner's current shards, from which new shards take what has not changed."""

from collections.abc import Iterator

from fedvsr.errors import DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.shard_records import ManifestRecord, ShardedVideo
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.video.frames import Frames
from fedvsr.video.shards import ClipInfo, Shard, open_shard

DescribedClip = tuple[ClipInfo, Frames]


class StoredClips:
    """The clips of one kind of shards, by the video from which they were cut.

    Only shards in a folder are used: a shard is many times larger than its videos, so reading it from another
    machine takes longer than decoding them. A shard that is damaged or missing counts as not stored.

    Args:
        store: The owner's store.
        folder: The shards' folder.
        manifest: The manifest of the shards; None if there is none that can be used.
        owner: The owner's name, for messages.
        progress: Receives a message for each shard that is damaged.
    """

    def __init__(
        self, store: Store, folder: str, manifest: ManifestRecord | None, owner: str, progress: Progress
    ) -> None:
        self._store, self._folder, self._owner, self._progress = store, folder, owner, progress
        self._manifest = manifest if isinstance(store, LocalStore) else None
        self._videos = {entry.video: entry for entry in self._manifest.videos} if self._manifest else {}
        self._clips: dict[str, list[tuple[ClipInfo, Shard]]] | None = None

    def find_video(self, name: str, fingerprint: str) -> ShardedVideo | None:
        """Returns a video's entry in the manifest if all its clips are stored and its bytes are the same."""
        entry = self._videos.get(name)
        if entry is None or entry.fingerprint != fingerprint:
            return None
        return entry if len(self._open().get(name, ())) == entry.clips else None

    def find_clip(self, video: str, first_frame: int) -> DescribedClip | None:
        """Returns the stored clip that begins at a frame of a video, or None."""
        return next((clip for clip in self.read(video) if clip[0].first_frame == first_frame), None)

    def read(self, video: str) -> Iterator[DescribedClip]:
        """Yields a video's stored clips, in order; their pixels are mapped."""
        for info, shard in self._open().get(video, ()):
            yield info, shard[info.name]

    def _open(self) -> dict[str, list[tuple[ClipInfo, Shard]]]:
        """Opens the shards when they are first needed."""
        if self._clips is None:
            self._clips = {}
            for shard in self._shards(self._manifest) if self._manifest else ():
                for info in shard.clips.values():
                    self._clips.setdefault(info.source, []).append((info, shard))
        return self._clips

    def _shards(self, manifest: ManifestRecord) -> Iterator[Shard]:
        for shard_file in manifest.shards:
            key = layout.shard(self._folder, manifest.kind, shard_file.digest)
            try:
                yield open_shard(self._store.local(key, shard_file.digest))
            except (DataError, NotFoundError) as error:
                self._progress.message(f"{self._owner}: {error}; its clips are made again")
