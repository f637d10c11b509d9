"""Making shards from videos, and reading them back as clips."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fedvsr.config.run import DataConfig
from fedvsr.errors import NotFoundError, ShardError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.sources import Source
from fedvsr.federation.records import read_record, write_record
from fedvsr.federation.shard_records import ManifestRecord, ShardFile
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.video.decode import FOLDER_FRAMES_PER_SECOND, VideoReader
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.frames import Frames, crop_to_multiple
from fedvsr.video.patches import ClipPair
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, degraded_kind, open_shard, write_shard
from fedvsr.video.shots import split_shots

# A shard is what a client's memory holds at once while it is written, and what a download fetches.
_SHARD_BYTES = 256 << 20

NamedClip = tuple[ClipInfo, Frames]


def low_resolution_kind(data: DataConfig) -> str:
    """Returns the kind of the low-resolution shards of a configuration, for example ``bi-x4``."""
    return degraded_kind(data.degradation, data.scale)


def shard_videos(
    store: Store,
    folder: str,
    videos: Sequence[Source],
    data: DataConfig,
    progress: Progress | None = None,
) -> tuple[ManifestRecord, ManifestRecord]:
    """Cuts videos into clips and writes their ground-truth and low-resolution shards.

    What is there already, made from the same bytes with the same settings, is left as it is.

    Args:
        store: The store of whoever owns the videos.
        folder: Where the shards go: `layout.training_clips` or `layout.evaluation_clips`.
        videos: The videos, in the order of the clips; their names are unique.
        data: How to cut and degrade.
        progress: Shows the videos and clips.

    Returns:
        The manifests of the ground truth and of the low resolution.

    Raises:
        fedvsr.errors.VideoError: A video cannot be read, or no clip is long enough.
    """
    progress = progress or Progress()
    truth = _shard_ground_truth(store, folder, videos, data, progress)
    return truth, _shard_degraded(store, folder, truth, data, progress)


def open_clips(store: Store, folder: str, data: DataConfig) -> list[ClipPair]:
    """Opens clips as memory maps; nothing is decoded.

    Raises:
        fedvsr.errors.NotFoundError: There are no such shards; make them first.
        fedvsr.errors.DataError: A shard is not what its manifest says.
    """
    truth = _open_all(store, folder, GROUND_TRUTH)
    kind = low_resolution_kind(data)
    degraded = dict(_open_all(store, folder, kind))
    pairs = []
    for name, frames in truth:
        if name not in degraded:
            raise ShardError(f"{store.uri}/{folder}{kind} lacks clip {name!r}; run the shard step again")
        low = degraded[name]
        height, width = low.shape[1] * data.scale, low.shape[2] * data.scale
        pairs.append(ClipPair(name, frames[:, :height, :width], low, data.scale))
    return pairs


def dataset_digest(store: Store, folder: str, data: DataConfig) -> str:
    """Returns the digest of the clips that a configuration trains or evaluates on."""
    manifests = [read_manifest(store, folder, kind) for kind in (GROUND_TRUTH, low_resolution_kind(data))]
    return bytes_digest("\n".join(shard.digest for each in manifests for shard in each.shards).encode())


def read_manifest(store: Store, folder: str, kind: str) -> ManifestRecord:
    """Reads a manifest; raises NotFoundError or RecordError."""
    return read_record(store, layout.manifest(folder, kind), ManifestRecord)


def _shard_ground_truth(
    store: Store, folder: str, videos: Sequence[Source], data: DataConfig, progress: Progress
) -> ManifestRecord:
    source = bytes_digest("\n".join(f"{each.name} {each.fingerprint()}" for each in videos).encode())
    settings = data.model_dump_json(include={"split_shots", "minimum_frames", "maximum_frames"})
    return _make(
        store,
        folder,
        GROUND_TRUTH,
        source,
        bytes_digest(settings.encode()),
        data,
        lambda: _cut(videos, data, progress),
    )


def _shard_degraded(
    store: Store, folder: str, truth: ManifestRecord, data: DataConfig, progress: Progress
) -> ManifestRecord:
    degradation = get_degradation(data.degradation)
    kind = low_resolution_kind(data)

    def degrade() -> Iterator[NamedClip]:
        with progress.stage(f"degrade {kind}", truth.clips) as advance:
            done = 0
            for shard_file in truth.shards:
                key = layout.shard(folder, GROUND_TRUTH, shard_file.digest)
                shard = open_shard(store.local(key, shard_file.digest))
                for info in shard.clips.values():
                    low = degradation(crop_to_multiple(shard[info.name], data.scale), data.scale)
                    yield info.model_copy(update={"height": low.shape[1], "width": low.shape[2]}), low
                    done += 1
                    advance(done, info.name)

    source = bytes_digest("\n".join(shard.digest for shard in truth.shards).encode())
    return _make(store, folder, kind, source, bytes_digest(kind.encode()), data, degrade)


def _make(
    store: Store,
    folder: str,
    kind: str,
    source: str,
    settings: str,
    data: DataConfig,
    clips: Callable[[], Iterable[NamedClip]],
) -> ManifestRecord:
    """Returns the manifest that is there if it is current, else writes shards and their manifest."""
    try:
        found = read_manifest(store, folder, kind)
    except NotFoundError:
        found = None
    if (
        found is not None
        and (found.source_digest, found.settings_digest) == (source, settings)
        and all(store.exists(layout.shard(folder, kind, shard.digest)) for shard in found.shards)
    ):
        return found
    shards = []
    with tempfile.TemporaryDirectory(prefix="fedvsr-shards-") as temporary:
        for group in _groups(clips()):
            path = Path(temporary) / "shard.safetensors"
            info = write_shard(path, kind, group)
            store.upload(layout.shard(folder, kind, info.digest), path)
            shards.append(
                ShardFile(
                    digest=info.digest,
                    bytes=info.bytes,
                    clips=tuple(clip.name for clip in info.clips),
                    frames=sum(clip.frames for clip in info.clips),
                )
            )
    if not shards:
        raise VideoError(
            f"no shot has data.minimum_frames = {data.minimum_frames} frames or more; "
            "lower it, or give longer videos"
        )
    manifest = ManifestRecord(
        dataset=data.dataset,
        kind=kind,
        source_digest=source,
        settings_digest=settings,
        shards=tuple(shards),
    )
    write_record(store, layout.manifest(folder, kind), manifest)
    return manifest


def _cut(videos: Sequence[Source], data: DataConfig, progress: Progress) -> Iterator[NamedClip]:
    with progress.stage("decode", len(videos)) as advance:
        for done, video in enumerate(videos, start=1):
            with video.open() as path, VideoReader(path) as reader:
                found = 0
                fps = reader.fps or FOLDER_FRAMES_PER_SECOND
                for first, frames in split_shots(
                    reader,
                    fps=fps,
                    minimum_frames=data.minimum_frames,
                    maximum_frames=data.maximum_frames,
                    detect=data.split_shots,
                ):
                    found += 1
                    yield (
                        ClipInfo(
                            name=video.name if first == 0 else f"{video.name}@{first}",
                            frames=len(frames),
                            height=frames.shape[1],
                            width=frames.shape[2],
                            fps=fps,
                            source=video.name,
                            first_frame=first,
                        ),
                        frames,
                    )
            if not found:
                raise VideoError(
                    f"{video.name} has no shot of data.minimum_frames = {data.minimum_frames} frames; "
                    "lower it, or leave this video out"
                )
            advance(done, video.name)


def _groups(clips: Iterable[NamedClip]) -> Iterator[list[NamedClip]]:
    group: list[NamedClip] = []
    size = 0
    for clip in clips:
        if group and size + clip[1].nbytes > _SHARD_BYTES:
            yield group
            group, size = [], 0
        group.append(clip)
        size += clip[1].nbytes
    if group:
        yield group


def _open_all(store: Store, folder: str, kind: str) -> list[tuple[str, Frames]]:
    found: list[tuple[str, Frames]] = []
    for shard_file in read_manifest(store, folder, kind).shards:
        key = layout.shard(folder, kind, shard_file.digest)
        shard = open_shard(store.local(key, shard_file.digest))
        found.extend((name, shard[name]) for name in shard)
    return found
