"""Makes shards from an owner's videos."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fedvsr.config.run import DataConfig
from fedvsr.errors import NotFoundError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import low_resolution_kind, read_manifest, read_shards
from fedvsr.federation.owner.cutting import VideoCutter
from fedvsr.federation.owner.fingerprints import Fingerprint, describe_changes, take_fingerprints
from fedvsr.federation.owner.stored_clips import DescribedClip, StoredClips
from fedvsr.federation.owner.videos import Video
from fedvsr.federation.records import write_record
from fedvsr.federation.shard_records import ManifestRecord, Manifests, ShardFile, SkippedVideo
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.store.local import LocalStore
from fedvsr.text import printable
from fedvsr.video.degradations.base import Degradation
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.frames import crop_to_multiple
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, write_shard

# A shard's clips are all in memory while it is written, and a download fetches a whole shard.
_MAX_SHARD_BYTES = 256 << 20
# An error, and a message about videos that stay left out, name this many videos.
_MAX_REASONS = 3


def shard_videos(
    store: Store,
    folder: str,
    videos: Sequence[Video],
    data: DataConfig,
    owner: str,
    progress: Progress | None = None,
) -> Manifests:
    """Cuts videos into clips and writes their ground-truth and low-resolution shards.

    A video that cannot be used is left out, and the manifests have its name and the reason. Shards of the
    same videos and settings that already exist are kept, and the videos that they leave out are not decoded
    again. If some videos changed, the clips of the others are taken from the existing shards, if these are in
    a folder: the new shards are the same as if all had been decoded again. Shards that no manifest names any
    more are deleted there.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        videos: The videos, in the order of the clips. Their names are unique.
        data: How to cut and degrade. If ``strict``, the first video that cannot be used is an error.
        owner: The owner's name, for messages.
        progress: Reports progress per video and clip, and each video that is left out.

    Returns:
        The manifests of the shards.

    Raises:
        fedvsr.errors.VideoError: No video can be used.
        fedvsr.errors.StoreError: The store or this machine's disk failed; run it again to continue.
    """
    progress = progress or Progress()
    if not videos:
        raise VideoError("there are no videos to shard; give at least one")
    maker = _ShardMaker(store, folder, data, owner, progress)
    ground_truth = maker.make_ground_truth(videos)
    manifests = Manifests(ground_truth, maker.make_low_resolution(ground_truth))
    maker.delete_unnamed(manifests)
    return manifests


class _ShardMaker:
    """Makes the shards of one owner. The arguments are those of `shard_videos`."""

    def __init__(self, store: Store, folder: str, data: DataConfig, owner: str, progress: Progress) -> None:
        self._store = store
        self._folder = folder
        self._data = data
        self._owner = owner
        self._progress = progress
        self._unchanged: set[str] = set()
        self._earlier_ground_truth = ""

    def make_ground_truth(self, videos: Sequence[Video]) -> ManifestRecord:
        """Returns the manifest of the ground-truth shards, and makes those that are not current."""
        fingerprints = take_fingerprints(videos, self._progress)
        lines = [
            f"{video.name} {fingerprint.value}"
            for video, fingerprint in zip(videos, fingerprints, strict=True)
        ]
        settings = self._data.model_dump_json(
            include={"split_shots", "minimum_frames", "maximum_frames", "damaged_frames"}
        )
        draft = ManifestRecord(
            dataset=self._data.dataset,
            kind=GROUND_TRUTH,
            source_digest=_digest_of_lines(lines),
            settings_digest=bytes_digest(settings.encode()),
            shards=(),
        )
        stored = self._find_manifest(GROUND_TRUTH)
        if stored is not None:
            if self._is_current(stored, draft):
                return self._keep(stored)
            self._tell_changes(stored, draft, videos, fingerprints)
            self._earlier_ground_truth = _digest_of_shards(stored)
        clips = self._stored_clips(stored, draft)
        cutter = VideoCutter(videos, fingerprints, self._data, self._owner, self._progress, clips)
        shards = self._write_shards(GROUND_TRUTH, cutter.clips())
        self._unchanged = cutter.unchanged
        return self._write_manifest(
            draft.model_copy(
                update={"shards": shards, "videos": tuple(cutter.cut), "skipped": tuple(cutter.skipped)}
            )
        )

    def make_low_resolution(self, ground_truth: ManifestRecord) -> ManifestRecord:
        """Returns the manifest of the low-resolution shards, and makes those that are not current."""
        kind = low_resolution_kind(self._data)
        draft = ManifestRecord(
            dataset=self._data.dataset,
            kind=kind,
            source_digest=_digest_of_shards(ground_truth),
            settings_digest=bytes_digest(kind.encode()),
            shards=(),
        )
        stored = self._find_manifest(kind)
        if stored is not None and self._is_current(stored, draft):
            return self._keep(stored)
        is_of_earlier = stored is not None and stored.source_digest == self._earlier_ground_truth
        clips = self._stored_clips(stored if is_of_earlier else None, draft)
        skipped: dict[str, SkippedVideo] = {}
        shards = self._write_shards(kind, self._degrade(ground_truth, clips, skipped))
        return self._write_manifest(
            draft.model_copy(update={"shards": shards, "skipped": tuple(skipped.values())}),
            ground_truth.skipped,
        )

    def delete_unnamed(self, manifests: Manifests) -> None:
        """Deletes the shards that the manifests do not name, if the store is a folder.

        They are left by earlier videos and settings, or by an attempt that was cut off. A reader that has
        mapped one keeps it. In a bucket they stay, because a reader that still downloads one would fail.
        """
        if not isinstance(self._store, LocalStore):
            return
        for manifest in (manifests.ground_truth, manifests.low_resolution):
            named = {layout.shard(self._folder, manifest.kind, shard.digest) for shard in manifest.shards}
            for key in list(self._store.keys(layout.shards(self._folder, manifest.kind))):
                if layout.is_shard(self._folder, manifest.kind, key) and key not in named:
                    self._store.delete(key)

    def _stored_clips(self, stored: ManifestRecord | None, draft: ManifestRecord) -> StoredClips:
        """Returns the clips that new shards may take over from the stored ones."""
        if stored is not None and stored.settings_digest != draft.settings_digest:
            stored = None
        return StoredClips(self._store, self._folder, stored, self._owner, self._progress)

    def _degrade(
        self, ground_truth: ManifestRecord, stored: StoredClips, skipped: dict[str, SkippedVideo]
    ) -> Iterator[DescribedClip]:
        """Yields the clips' low resolution, and adds the videos that are too small for it to ``skipped``."""
        degradation = get_degradation(self._data.degradation)
        kind = low_resolution_kind(self._data)
        with self._progress.stage(f"degrade {kind}", ground_truth.clips) as advance:
            clips = read_shards(self._store, self._folder, ground_truth)
            for done, clip in enumerate(clips, start=1):
                info = clip[0]
                try:
                    small_clip = self._find_small(info, stored) or _degrade_clip(
                        clip, degradation, self._data.scale
                    )
                except VideoError as error:
                    if self._data.strict:
                        raise VideoError(f"{info.source}: {error}") from error
                    if info.source not in skipped:
                        skipped[info.source] = SkippedVideo(video=info.source, reason=printable(str(error)))
                        self._progress.message(_describe_skipped(self._owner, skipped[info.source]))
                else:
                    yield small_clip
                advance(done, printable(info.name))

    def _find_small(self, info: ClipInfo, stored: StoredClips) -> DescribedClip | None:
        """Returns the stored low resolution of a clip of a video that has not changed, or None."""
        if info.source not in self._unchanged:
            return None
        clip = stored.find_clip(info.source, info.first_frame)
        return (clip[0].model_copy(update={"name": info.name}), clip[1]) if clip else None

    def _find_manifest(self, kind: str) -> ManifestRecord | None:
        try:
            return read_manifest(self._store, self._folder, kind)
        except NotFoundError:
            return None

    def _is_current(self, stored: ManifestRecord, draft: ManifestRecord) -> bool:
        """Returns whether a manifest has the draft's digests and all its shards exist."""
        same_source = stored.source_digest == draft.source_digest
        same_settings = stored.settings_digest == draft.settings_digest
        if not (same_source and same_settings):
            return False
        keys = [layout.shard(self._folder, draft.kind, shard.digest) for shard in stored.shards]
        return all(self._store.exists(key) for key in keys)

    def _keep(self, manifest: ManifestRecord) -> ManifestRecord:
        """Returns a current manifest, and tells of the videos that it leaves out.

        Raises:
            fedvsr.errors.VideoError: It leaves out a video, and the configuration is strict.
        """
        if manifest.skipped and self._data.strict:
            first = manifest.skipped[0]
            raise VideoError(f"{first.video}: {first.reason}")
        for entry in manifest.skipped[:_MAX_REASONS]:
            self._progress.message(_describe_skipped(self._owner, entry))
        more = len(manifest.skipped) - _MAX_REASONS
        if more > 0:
            key = layout.manifest(self._folder, manifest.kind)
            self._progress.message(
                f"{self._owner}: {more} more videos are left out; {self._store.uri}/{key} lists them"
            )
        return manifest

    def _tell_changes(
        self,
        stored: ManifestRecord,
        draft: ManifestRecord,
        videos: Sequence[Video],
        fingerprints: Sequence[Fingerprint],
    ) -> None:
        """Tells why the stored shards are replaced."""
        if stored.source_digest != draft.source_digest:
            changes = describe_changes(stored, videos, fingerprints)
            what = f"its videos changed{f': {changes}' if changes else ''}"
        elif stored.settings_digest != draft.settings_digest:
            what = "its shards were made with other settings"
        else:
            what = "some of its shards are missing"
        self._progress.message(f"{self._owner}: {what}; the shards of {self._data.dataset!r} are made again")

    def _write_shards(self, kind: str, clips: Iterable[DescribedClip]) -> tuple[ShardFile, ...]:
        shards = []
        with tempfile.TemporaryDirectory(prefix="fedvsr-shards-") as temporary:
            for group in _group_by_size(clips):
                path = Path(temporary) / "shard.safetensors"
                info = write_shard(path, kind, group)
                self._store.upload(layout.shard(self._folder, kind, info.digest), path)
                shards.append(
                    ShardFile(
                        digest=info.digest,
                        bytes=info.size_bytes,
                        clips=tuple(clip.name for clip in info.clips),
                        frames=sum(clip.frames for clip in info.clips),
                    )
                )
        return tuple(shards)

    def _write_manifest(
        self, manifest: ManifestRecord, skipped_before: Sequence[SkippedVideo] = ()
    ) -> ManifestRecord:
        """Writes a manifest after its shards.

        Args:
            manifest: The manifest.
            skipped_before: The videos that the shards it was made from leave out.

        Raises:
            fedvsr.errors.VideoError: It has no shards, because all videos are left out.
        """
        if not manifest.shards:
            skipped = (*skipped_before, *manifest.skipped)
            reasons = "; ".join(
                f"{printable(entry.video)}: {entry.reason}" for entry in skipped[:_MAX_REASONS]
            )
            more = len(skipped) - _MAX_REASONS
            raise VideoError(
                f"{self._owner}: 0 of {len(skipped)} videos can be used: {reasons}"
                + (f"; and {more} more" if more > 0 else "")
            )
        write_record(self._store, layout.manifest(self._folder, manifest.kind), manifest)
        return manifest


def _degrade_clip(clip: DescribedClip, degradation: Degradation, scale: int) -> DescribedClip:
    info, frames = clip
    small_frames = degradation(crop_to_multiple(frames, scale), scale)
    height, width = small_frames.shape[1:3]
    return info.model_copy(update={"height": height, "width": width}), small_frames


def _describe_skipped(owner: str, entry: SkippedVideo) -> str:
    return f"{owner}: {printable(entry.video)} is left out: {entry.reason}"


def _group_by_size(clips: Iterable[DescribedClip]) -> Iterator[list[DescribedClip]]:
    """Yields the clips of one shard after the other."""
    group: list[DescribedClip] = []
    size = 0
    for info, frames in clips:
        if group and size + frames.nbytes > _MAX_SHARD_BYTES:
            yield group
            group, size = [], 0
        group.append((info, frames))
        size += frames.nbytes
    if group:
        yield group


def _digest_of_shards(manifest: ManifestRecord) -> str:
    return _digest_of_lines([shard.digest for shard in manifest.shards])


def _digest_of_lines(lines: Sequence[str]) -> str:
    return bytes_digest("\n".join(lines).encode())
