"""Makes shards from videos, and opens them as clips."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fedvsr.config.run import DataConfig
from fedvsr.errors import NotFoundError, ShardError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.videos import Video
from fedvsr.federation.records import read_record, write_record
from fedvsr.federation.shard_records import ManifestRecord, ShardFile
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.video.decode import VideoReader
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.frames import Frames, crop_to_multiple
from fedvsr.video.image_folder import FOLDER_FRAMES_PER_SECOND
from fedvsr.video.patches import ClipPair
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, open_shard, shard_kind, write_shard
from fedvsr.video.shots import split_shots

# A shard's clips are all in memory while it is written, and a download fetches a whole shard.
_MAX_SHARD_BYTES = 256 << 20

DescribedClip = tuple[ClipInfo, Frames]


def low_resolution_kind(data: DataConfig) -> str:
    """Returns the kind of the low-resolution shards, for example ``bi-x4``."""
    return shard_kind(data.degradation, data.scale)


def shard_videos(
    store: Store,
    folder: str,
    videos: Sequence[Video],
    data: DataConfig,
    progress: Progress | None = None,
) -> tuple[ManifestRecord, ManifestRecord]:
    """Cuts videos into clips and writes their ground-truth and low-resolution shards.

    Shards of the same videos and settings that already exist are kept.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        videos: The videos, in the order of the clips. Their names are unique.
        data: How to cut and degrade.
        progress: Reports progress per video and clip.

    Returns:
        The manifests of the ground-truth shards and of the low-resolution shards.

    Raises:
        fedvsr.errors.VideoError: A video cannot be read, or has no shot that is long enough.
        fedvsr.errors.StoreError: The store or this machine's disk failed; run it again to continue.
    """
    progress = progress or Progress()
    if not videos:
        raise VideoError("there are no videos to shard; give at least one")
    ground_truth = _shard_ground_truth(store, folder, videos, data, progress)
    return ground_truth, _shard_low_resolution(store, folder, ground_truth, data, progress)


def open_clips(store: Store, folder: str, data: DataConfig) -> list[ClipPair]:
    """Opens clips as memory maps, without decoding anything.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        data: The configuration, which names the degradation and the scale.

    Returns:
        The clips in the order of the manifest. Ground truth is cropped to a multiple of the scale.

    Raises:
        fedvsr.errors.NotFoundError: The shards do not exist.
        fedvsr.errors.DataError: A shard does not match its manifest, or a clip has no low-resolution frames.
    """
    ground_truth = _open_shards(store, folder, GROUND_TRUTH)
    kind = low_resolution_kind(data)
    low_resolution = dict(_open_shards(store, folder, kind))
    pairs = []
    for name, frames in ground_truth:
        if name not in low_resolution:
            raise ShardError(f"{store.uri}/{folder}{kind} lacks clip {name!r}; run the shard step again")
        small_frames = low_resolution[name]
        height, width = small_frames.shape[1] * data.scale, small_frames.shape[2] * data.scale
        pairs.append(ClipPair(name, frames[:, :height, :width], small_frames, data.scale))
    return pairs


def dataset_digest(store: Store, folder: str, data: DataConfig) -> str:
    """Returns the digest of the clips that a configuration trains or evaluates on.

    It is the SHA-256 of the digests of the ground-truth and low-resolution shards, one per line.

    Raises:
        fedvsr.errors.NotFoundError: A manifest does not exist.
        fedvsr.errors.RecordError: A manifest is invalid.
    """
    manifests = [read_manifest(store, folder, kind) for kind in (GROUND_TRUTH, low_resolution_kind(data))]
    return _digest_of_lines([shard.digest for manifest in manifests for shard in manifest.shards])


def read_manifest(store: Store, folder: str, kind: str) -> ManifestRecord:
    """Reads the manifest of one kind of shards.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        kind: `GROUND_TRUTH`, or the result of `low_resolution_kind`.

    Raises:
        fedvsr.errors.NotFoundError: The manifest does not exist.
        fedvsr.errors.RecordError: The manifest is invalid.
    """
    return read_record(store, layout.manifest(folder, kind), ManifestRecord)


def _shard_ground_truth(
    store: Store, folder: str, videos: Sequence[Video], data: DataConfig, progress: Progress
) -> ManifestRecord:
    fingerprints = [f"{video.name} {video.fingerprint()}" for video in videos]
    settings = data.model_dump_json(include={"split_shots", "minimum_frames", "maximum_frames"})
    draft = ManifestRecord(
        dataset=data.dataset,
        kind=GROUND_TRUTH,
        source_digest=_digest_of_lines(fingerprints),
        settings_digest=bytes_digest(settings.encode()),
        shards=(),
    )
    return _make_shards(store, folder, draft, _cut_videos(videos, data, progress))


def _shard_low_resolution(
    store: Store, folder: str, ground_truth: ManifestRecord, data: DataConfig, progress: Progress
) -> ManifestRecord:
    degradation = get_degradation(data.degradation)
    kind = low_resolution_kind(data)
    draft = ManifestRecord(
        dataset=data.dataset,
        kind=kind,
        source_digest=_digest_of_lines([shard.digest for shard in ground_truth.shards]),
        settings_digest=bytes_digest(kind.encode()),
        shards=(),
    )

    def degrade_clips() -> Iterator[DescribedClip]:
        with progress.stage(f"degrade {kind}", ground_truth.clips) as advance:
            clips = _read_shards(store, folder, ground_truth)
            for done, (info, frames) in enumerate(clips, start=1):
                small_frames = degradation(crop_to_multiple(frames, data.scale), data.scale)
                height, width = small_frames.shape[1:3]
                yield info.model_copy(update={"height": height, "width": width}), small_frames
                advance(done, info.name)

    return _make_shards(store, folder, draft, degrade_clips())


def _make_shards(
    store: Store, folder: str, draft: ManifestRecord, clips: Iterable[DescribedClip]
) -> ManifestRecord:
    """Returns the stored manifest if it is current, else writes shards and then their manifest.

    Args:
        store: The owner's store.
        folder: The shards' folder.
        draft: The manifest to write, still without shards.
        clips: A generator of the clips. It is not started if the stored manifest is current.
    """
    current = _find_current_manifest(store, folder, draft)
    if current is not None:
        return current
    manifest = draft.model_copy(update={"shards": _write_shards(store, folder, draft.kind, clips)})
    write_record(store, layout.manifest(folder, draft.kind), manifest)
    return manifest


def _find_current_manifest(store: Store, folder: str, draft: ManifestRecord) -> ManifestRecord | None:
    """Returns the stored manifest if it has the draft's digests and all its shards exist, else None."""
    try:
        manifest = read_manifest(store, folder, draft.kind)
    except NotFoundError:
        return None
    same_source = manifest.source_digest == draft.source_digest
    same_settings = manifest.settings_digest == draft.settings_digest
    if not (same_source and same_settings):
        return None
    keys = [layout.shard(folder, draft.kind, shard.digest) for shard in manifest.shards]
    return manifest if all(store.exists(key) for key in keys) else None


def _write_shards(
    store: Store, folder: str, kind: str, clips: Iterable[DescribedClip]
) -> tuple[ShardFile, ...]:
    shards = []
    with tempfile.TemporaryDirectory(prefix="fedvsr-shards-") as temporary:
        for group in _group_by_size(clips):
            path = Path(temporary) / "shard.safetensors"
            info = write_shard(path, kind, group)
            store.upload(layout.shard(folder, kind, info.digest), path)
            shards.append(
                ShardFile(
                    digest=info.digest,
                    bytes=info.size_bytes,
                    clips=tuple(clip.name for clip in info.clips),
                    frames=sum(clip.frames for clip in info.clips),
                )
            )
    return tuple(shards)


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


def _cut_videos(videos: Sequence[Video], data: DataConfig, progress: Progress) -> Iterator[DescribedClip]:
    with progress.stage("decode", len(videos)) as advance:
        for done, video in enumerate(videos, start=1):
            yield from _cut_video(video, data)
            advance(done, video.name)


def _cut_video(video: Video, data: DataConfig) -> Iterator[DescribedClip]:
    clips = 0
    with video.as_local_path() as path, VideoReader(path) as reader:
        fps = float(reader.fps or FOLDER_FRAMES_PER_SECOND)
        shots = split_shots(
            reader,
            fps=fps,
            minimum_frames=data.minimum_frames,
            maximum_frames=data.maximum_frames,
            detect=data.split_shots,
        )
        for first_frame, frames in shots:
            length, height, width = frames.shape[:3]
            info = ClipInfo(
                name=video.name if first_frame == 0 else f"{video.name}@{first_frame}",
                frames=length,
                height=height,
                width=width,
                fps=fps,
                source=video.name,
                first_frame=first_frame,
            )
            yield info, frames
            clips += 1
    if clips == 0:
        raise VideoError(
            f"{video.name} has no shot of data.minimum_frames = {data.minimum_frames} frames; "
            "lower it, or leave this video out"
        )


def _open_shards(store: Store, folder: str, kind: str) -> list[tuple[str, Frames]]:
    """Returns the names and pixels of all clips of a kind, in the order of the manifest."""
    manifest = read_manifest(store, folder, kind)
    return [(info.name, frames) for info, frames in _read_shards(store, folder, manifest)]


def _read_shards(store: Store, folder: str, manifest: ManifestRecord) -> Iterator[DescribedClip]:
    for shard_file in manifest.shards:
        key = layout.shard(folder, manifest.kind, shard_file.digest)
        shard = open_shard(store.local(key, shard_file.digest))
        for info in shard.clips.values():
            yield info, shard[info.name]


def _digest_of_lines(lines: Sequence[str]) -> str:
    return bytes_digest("\n".join(lines).encode())
