"""Makes shards from an owner's videos."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from fedvsr.config.run import DataConfig
from fedvsr.errors import VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.cutting import DescribedClip, VideoCutter, describe_skipped
from fedvsr.federation.owner.fingerprints import Fingerprint, describe_changes, take_fingerprints
from fedvsr.federation.owner.manifests import find_manifest, low_resolution_kind
from fedvsr.federation.owner.older_shards import OlderClips
from fedvsr.federation.owner.shard_writing import ShardPlace
from fedvsr.federation.owner.stored_frames import KindOfShards, StoredClipFrames, StoredVideoFrames
from fedvsr.federation.owner.videos import Video
from fedvsr.federation.records import write_record
from fedvsr.federation.shard_records import (
    COMPUTED,
    SOURCE,
    ManifestRecord,
    Manifests,
    ShardedVideo,
    SkippedVideo,
    identity_of,
)
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.store.local import LocalStore
from fedvsr.text import printable
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.frames import crop_to_multiple
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo

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
    again. If some videos changed, only these and those that were left out are decoded. The shards of a video
    are complete when its record is written, so a call that was cut off goes on where it ended. If the store
    is a folder, shards that no manifest names any more are deleted.

    Older shards, with clips of several videos, stay as they are until a video or a setting changes.

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
    manifests = maker.find_older(videos)
    if manifests is None:
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
        self._degradation = get_degradation(data.degradation)
        self._place = ShardPlace(store, folder, GROUND_TRUTH, _digest_of_settings(data))
        kind = low_resolution_kind(data)
        self._small_place = ShardPlace(store, folder, kind, bytes_digest(_small_settings(data).encode()))
        self._shards = KindOfShards(store, folder, GROUND_TRUTH)
        self._fingerprints: list[Fingerprint] = []

    def find_older(self, videos: Sequence[Video]) -> Manifests | None:
        """Returns the manifests of older shards if they are current, and tells of the videos left out."""
        self._fingerprints = take_fingerprints(videos, self._progress)
        stored = find_manifest(self._store, self._folder, GROUND_TRUTH)
        small = find_manifest(self._store, self._folder, self._small_place.kind)
        if stored is None or small is None or not (stored.is_older and small.is_older):
            return None
        if not self._is_current(stored, self._draft(videos)):
            return None
        if not self._is_current(small, self._small_draft(stored)):
            return None
        return Manifests(self._keep(stored), self._keep(small))

    def make_ground_truth(self, videos: Sequence[Video]) -> ManifestRecord:
        """Returns the manifest of the ground-truth shards, and makes those that are not current."""
        draft = self._draft(videos)
        stored = find_manifest(self._store, self._folder, GROUND_TRUTH)
        if stored is not None:
            if not stored.is_older and self._is_current(stored, draft):
                return self._keep(stored)
            self._tell_changes(stored, draft, videos)
        cutter = VideoCutter(self._data, self._owner, self._progress)
        raw = self._data.model_copy(update={"storage": "raw"})
        is_usable = stored is not None and stored.settings_digest == _digest_of_settings(raw)
        older = OlderClips(
            self._store, self._folder, stored if is_usable else None, self._owner, self._progress
        )
        entries = []
        with self._progress.stage("decode", len(videos)) as advance:
            for done, (video, fingerprint) in enumerate(
                zip(videos, self._fingerprints, strict=True), start=1
            ):
                entry = self._make_video(video, fingerprint, cutter, older)
                if entry:
                    entries.append(entry)
                advance(done, printable(video.name))
        return self._write_manifest(
            draft.model_copy(update={"videos": tuple(entries), "skipped": tuple(cutter.skipped)})
        )

    def make_low_resolution(self, ground_truth: ManifestRecord) -> ManifestRecord:
        """Returns the manifest of the low-resolution shards, and makes those that are not current."""
        draft = self._small_draft(ground_truth)
        stored = find_manifest(self._store, self._folder, draft.kind)
        if stored is not None and not stored.is_older and self._is_current(stored, draft):
            return self._keep(stored)
        entries, skipped = [], []
        with self._progress.stage(f"degrade {draft.kind}", len(ground_truth.videos)) as advance:
            for done, video in enumerate(ground_truth.videos, start=1):
                frames = StoredVideoFrames(self._shards, ground_truth.identity_of(video), video)
                try:
                    entries.append(self._make_small_video(video, lambda: _clips_of(video, frames)))  # noqa: B023 -- called at once
                except VideoError as error:
                    if self._data.strict:
                        raise VideoError(f"{video.video}: {error}") from error
                    skipped.append(SkippedVideo(video=video.video, reason=printable(str(error))))
                    self._progress.message(describe_skipped(self._owner, skipped[-1]))
                advance(done, printable(video.video))
        return self._write_manifest(
            draft.model_copy(update={"videos": tuple(entries), "skipped": tuple(skipped)}),
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
            kind = manifest.kind
            named = {
                layout.sharded_video(self._folder, kind, manifest.identity_of(video))
                for video in manifest.videos
            }
            for key in list(self._store.keys(layout.shards(self._folder, kind))):
                is_unnamed = key.startswith(layout.sharded_videos(self._folder, kind)) and (
                    f"{key.rpartition('/')[0]}/" not in named
                )
                if is_unnamed or layout.is_shard(self._folder, kind, key):
                    self._store.delete(key)

    def _draft(self, videos: Sequence[Video]) -> ManifestRecord:
        """Returns the manifest of the ground truth, without its videos."""
        lines = [
            f"{video.name} {fingerprint.value}"
            for video, fingerprint in zip(videos, self._fingerprints, strict=True)
        ]
        return ManifestRecord(
            dataset=self._data.dataset,
            kind=GROUND_TRUTH,
            source_digest=_digest_of_lines(lines),
            settings_digest=self._place.settings_digest,
        )

    def _small_draft(self, ground_truth: ManifestRecord) -> ManifestRecord:
        """Returns the manifest of the low resolution, without its videos."""
        return ManifestRecord(
            dataset=self._data.dataset,
            kind=self._small_place.kind,
            source_digest=ground_truth.digest,
            settings_digest=self._small_place.settings_digest,
        )

    def _make_video(
        self, video: Video, fingerprint: Fingerprint, cutter: VideoCutter, older: OlderClips
    ) -> ShardedVideo | None:
        """Returns a video's entry, and makes its shards if there are none; None if it cannot be used."""
        identity = identity_of(video.name, fingerprint.value, self._place.settings_digest)
        entry = self._place.find(identity, fingerprint.value)
        if entry:
            self._tell_damage(entry)
            return entry
        found = older.find_video(video.name, fingerprint.value) if self._data.storage != SOURCE else None
        if found:
            clips = list(older.read(video.name))
            shots = tuple((info.first_frame, info.frames) for info, _ in clips)
            entry = found.model_copy(
                update={"storage": self._data.storage, "fps": clips[0][0].fps, "shots": shots}
            )
            self._tell_damage(entry)
            return self._place.write_pixels(identity, entry, iter(clips))
        with cutter.cut(video, fingerprint) as cut:
            if cut is None:
                return None
            entry = ShardedVideo(
                video=video.name,
                fingerprint=fingerprint.value,
                clips=len(cut.shots),
                frames=sum(frames for _, frames in cut.shots),
                height=cut.height,
                width=cut.width,
                damaged_frames=cut.damaged_frames,
                storage=self._data.storage,
                fps=cut.fps,
                shots=cut.shots,
            )
            self._tell_damage(entry)
            written = None
            if self._data.storage == SOURCE:
                written = self._place.copy_stream(identity, entry, cut.path, _owned(video))
                if written is None:
                    entry = entry.model_copy(update={"storage": "lossless"})
                    self._progress.message(
                        f"{self._owner}: {printable(video.name)} is stored losslessly: its own stream "
                        "cannot be cut at key frames so that every frame of the owner stays the same"
                    )
            written = written or self._place.write_pixels(identity, entry, cut.clips())
            # While its frames are at hand. If they are too small, `make_low_resolution` tells.
            with suppress(VideoError):
                self._make_small_video(written, cut.clips)
            return written

    def _make_small_video(
        self, video: ShardedVideo, clips: Callable[[], Iterator[DescribedClip]]
    ) -> ShardedVideo:
        """Returns the entry of a video's low resolution, and makes its shards if there are none.

        Args:
            video: The entry of its ground truth.
            clips: Yields its clips.

        Raises:
            fedvsr.errors.VideoError: The frames are too small for the degradation or the scale.
        """
        place = self._small_place
        identity = identity_of(video.video, video.record, place.settings_digest)
        entry = place.find(identity, video.record)
        if entry:
            return entry
        info, frames = next(clips())
        height, width = self._degrade((info, frames[:1]))[1].shape[1:3]
        storage = _small_storage(self._data)
        update = {
            "fingerprint": video.record,
            "height": height,
            "width": width,
            "storage": storage,
            "damaged_frames": 0,
            "shards": 0,
            "bytes": 0,
            "record": "",
        }
        entry = video.model_copy(update=update)
        if storage == COMPUTED:
            return place.write_record(identity, entry, ())
        return place.write_pixels(identity, entry, map(self._degrade, clips()))

    def _degrade(self, clip: DescribedClip) -> DescribedClip:
        info, frames = clip
        small_frames = self._degradation(crop_to_multiple(frames, self._data.scale), self._data.scale)
        height, width = small_frames.shape[1:3]
        return info.model_copy(update={"frames": len(frames), "height": height, "width": width}), small_frames

    def _is_current(self, stored: ManifestRecord, draft: ManifestRecord) -> bool:
        """Returns whether a manifest has the draft's digests and all its shards exist."""
        same_source = stored.source_digest == draft.source_digest
        same_settings = stored.settings_digest == draft.settings_digest
        if not (same_source and same_settings):
            return False
        if stored.is_older:
            keys = [layout.shard(self._folder, draft.kind, shard.digest) for shard in stored.shards]
            return all(self._store.exists(key) for key in keys)
        # One listing instead of a request for every shard.
        folders = Counter(
            key.rpartition("/")[0]
            for key in self._store.keys(layout.sharded_videos(self._folder, draft.kind))
        )
        return all(
            folders[layout.sharded_video(self._folder, draft.kind, stored.identity_of(video)).rstrip("/")]
            > video.shards
            for video in stored.videos
        )

    def _keep(self, manifest: ManifestRecord) -> ManifestRecord:
        """Returns a current manifest, and tells of the videos that it leaves out.

        Raises:
            fedvsr.errors.VideoError: It leaves out a video, and the configuration is strict.
        """
        if manifest.skipped and self._data.strict:
            first = manifest.skipped[0]
            raise VideoError(f"{first.video}: {first.reason}")
        for entry in manifest.skipped[:_MAX_REASONS]:
            self._progress.message(describe_skipped(self._owner, entry))
        more = len(manifest.skipped) - _MAX_REASONS
        if more > 0:
            key = layout.manifest(self._folder, manifest.kind)
            self._progress.message(
                f"{self._owner}: {more} more videos are left out; {self._store.uri}/{key} lists them"
            )
        return manifest

    def _tell_changes(self, stored: ManifestRecord, draft: ManifestRecord, videos: Sequence[Video]) -> None:
        """Tells why shards are made."""
        again = f"the shards of {self._data.dataset!r} are made again"
        if stored.settings_digest != draft.settings_digest:
            message = f"its shards were made with other settings; {again}"
        elif stored.source_digest != draft.source_digest:
            changes = describe_changes(stored, videos, self._fingerprints)
            message = f"its videos changed{f': {changes}; only these are sharded' if changes else ''}"
        else:
            message = "some of its shards are missing; they are made again"
        self._progress.message(f"{self._owner}: {message}")

    def _tell_damage(self, entry: ShardedVideo) -> None:
        if entry.damaged_frames:
            damaged = f"{entry.damaged_frames} damaged frames of {printable(entry.video)}"
            self._progress.message(f"{self._owner}: {damaged} are left out")

    def _write_manifest(
        self, manifest: ManifestRecord, skipped_before: Sequence[SkippedVideo] = ()
    ) -> ManifestRecord:
        """Writes a manifest after its shards.

        Args:
            manifest: The manifest.
            skipped_before: The videos that the shards it was made from leave out.

        Raises:
            fedvsr.errors.VideoError: It has no videos, because all videos are left out.
        """
        if not manifest.videos:
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


def _clips_of(video: ShardedVideo, frames: StoredVideoFrames) -> Iterator[DescribedClip]:
    """Yields a video's clips from its shards."""
    for (first_frame, count), position in zip(video.shots, video.positions, strict=True):
        info = ClipInfo(
            name=str(first_frame),
            frames=count,
            height=video.height,
            width=video.width,
            fps=video.fps,
            source=video.video,
            first_frame=first_frame,
        )
        yield info, StoredClipFrames(frames, position, info.shape)[:]


def _owned(video: Video) -> range | None:
    """Returns the frames of a video that are its owner's, if not all are."""
    if video.first_frame == 0 and video.stop_frame is None:
        return None
    return range(video.first_frame, sys.maxsize if video.stop_frame is None else video.stop_frame)


def _digest_of_settings(data: DataConfig) -> str:
    settings = data.model_dump_json(
        include={"split_shots", "minimum_frames", "maximum_frames", "damaged_frames", "storage"}
    )
    return bytes_digest(settings.encode())


def _small_storage(data: DataConfig) -> str:
    """Returns how low-resolution frames are stored. No video has a stream of them."""
    if data.low_resolution == "computed":
        return COMPUTED
    return "lossless" if data.storage == SOURCE else data.storage


def _small_settings(data: DataConfig) -> str:
    storage = _small_storage(data)
    kind = low_resolution_kind(data)
    return kind if storage == "raw" else f"{kind} {storage}"


def _digest_of_lines(lines: Sequence[str]) -> str:
    return bytes_digest("\n".join(lines).encode())
