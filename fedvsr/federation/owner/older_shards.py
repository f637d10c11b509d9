"""Older shards, which have clips of several videos: read as they are, and taken over when shards are made."""

from collections.abc import Iterator

from fedvsr.config.run import DataConfig
from fedvsr.errors import DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.owner.manifests import lacks_clip
from fedvsr.federation.shard_records import ManifestRecord, Manifests, ShardedVideo, ShardFile
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.video.frames import Frames
from fedvsr.video.patches import ClipPair
from fedvsr.video.shards import ClipInfo, Shard, open_shard


def open_older_clips(store: Store, folder: str, manifests: Manifests, data: DataConfig) -> list[ClipPair]:
    """Opens clips as memory maps; see `fedvsr.federation.owner.clips.open_clips`.

    Every shard is fetched and checked, because only its header says what is in it.
    """
    ground_truth = list(_read(store, folder, manifests.ground_truth))
    low_resolution = {info.name: frames for info, frames in _read(store, folder, manifests.low_resolution)}
    skipped = {entry.video for entry in manifests.low_resolution.skipped}
    pairs = []
    for info, frames in ground_truth:
        if info.source in skipped:
            continue
        if info.name not in low_resolution:
            raise lacks_clip(store, folder, manifests.low_resolution.kind, info.name)
        small_frames = low_resolution[info.name]
        height, width = small_frames.shape[1] * data.scale, small_frames.shape[2] * data.scale
        pairs.append(ClipPair(info.name, frames[:, :height, :width], small_frames, data.scale, info.fps))
    return pairs


def _read(store: Store, folder: str, manifest: ManifestRecord) -> Iterator[tuple[ClipInfo, Frames]]:
    for shard_file in manifest.shards:
        shard = _open(store, folder, manifest, shard_file)
        for info in shard.clips.values():
            yield info, shard[info.name]


def _open(store: Store, folder: str, manifest: ManifestRecord, shard: ShardFile) -> Shard:
    return open_shard(store.local(layout.shard(folder, manifest.kind, shard.digest), shard.digest))


class OlderClips:
    """The ground-truth clips of older shards, by video, so that no video is decoded again.

    Only shards in a folder are used: a shard is many times larger than its videos, so reading it from another
    machine takes longer than decoding them. A shard that is damaged or missing counts as not stored.

    Args:
        store: The owner's store.
        folder: The shards' folder.
        manifest: The manifest of the shards; None, or one that is not older, if there are none.
        owner: The owner's name, for messages.
        progress: Receives a message for each shard that is damaged.
    """

    def __init__(
        self, store: Store, folder: str, manifest: ManifestRecord | None, owner: str, progress: Progress
    ) -> None:
        self._store, self._folder, self._owner, self._progress = store, folder, owner, progress
        is_used = manifest is not None and manifest.is_older and isinstance(store, LocalStore)
        self._manifest = manifest if is_used else None
        self._videos = {entry.video: entry for entry in self._manifest.videos} if self._manifest else {}
        self._clips: dict[str, list[tuple[ClipInfo, Shard]]] | None = None

    def find_video(self, name: str, fingerprint: str) -> ShardedVideo | None:
        """Returns a video's entry in the manifest if all its clips are stored and its bytes are the same."""
        entry = self._videos.get(name)
        if entry is None or entry.fingerprint != fingerprint:
            return None
        return entry if len(self._open_all().get(name, ())) == entry.clips else None

    def read(self, video: str) -> Iterator[tuple[ClipInfo, Frames]]:
        """Yields a video's clips, in order; their pixels are mapped."""
        for info, shard in self._open_all().get(video, ()):
            yield info, shard[info.name]

    def _open_all(self) -> dict[str, list[tuple[ClipInfo, Shard]]]:
        """Opens the shards when they are first needed."""
        if self._clips is None:
            self._clips = {}
            for shard in self._shards(self._manifest) if self._manifest else ():
                for info in shard.clips.values():
                    self._clips.setdefault(info.source, []).append((info, shard))
        return self._clips

    def _shards(self, manifest: ManifestRecord) -> Iterator[Shard]:
        for shard_file in manifest.shards:
            try:
                yield _open(self._store, self._folder, manifest, shard_file)
            except (DataError, NotFoundError) as error:
                self._progress.message(f"{self._owner}: {error}; its clips are made again")
