"""Opens an owner's shards as clips."""

from collections.abc import Iterator

from fedvsr.config.run import DataConfig, EvaluationConfig, RunConfig
from fedvsr.errors import ShardError
from fedvsr.federation import layout
from fedvsr.federation.records import read_record
from fedvsr.federation.shard_records import ManifestRecord, Manifests
from fedvsr.metrics.ssim import MIN_SIDE
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.text import printable
from fedvsr.video.frames import Frames
from fedvsr.video.patches import ClipPair
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, open_shard, shard_kind


def low_resolution_kind(data: DataConfig) -> str:
    """Returns the kind of the low-resolution shards, for example ``bi-x4``."""
    return shard_kind(data.degradation, data.scale)


def open_training_clips(store: Store, config: RunConfig) -> list[ClipPair]:
    """Opens the clips that a client trains on in a run.

    Clips that are too small for the run's patches are left out, unless ``data.strict`` is set or all are.

    Args:
        store: The client's store.
        config: The run.

    Raises:
        fedvsr.errors.FedVSRError: As `open_clips`.
    """
    pairs = open_clips(store, layout.training_clips(config.data.dataset), config.data)
    return _without_small(pairs, config.training.patch_size, config.data)


def open_held_out_clips(store: Store, config: RunConfig) -> list[ClipPair]:
    """Opens the clips that a run is evaluated on.

    Clips that are too small for the metrics are left out, unless ``data.strict`` is set or all are.

    Args:
        store: The federation's store.
        config: The run.

    Raises:
        fedvsr.errors.FedVSRError: As `open_clips`.
    """
    pairs = open_clips(store, layout.held_out_clips(config.data.dataset), config.data)
    return _without_small(pairs, evaluation_side(config.evaluation), config.data)


def evaluation_side(evaluation: EvaluationConfig) -> int:
    """Returns the smallest height and width of a clip that can be evaluated, in pixels."""
    return MIN_SIDE + 2 * evaluation.crop_border


def tell_small_videos(manifests: Manifests, side: int, purpose: str, owner: str, progress: Progress) -> None:
    """Tells of the videos whose clips are too small for a run.

    Args:
        manifests: The owner's manifests.
        side: The height and width that the run needs, in pixels.
        purpose: The reason, for example ``training.patch_size``.
        owner: The owner's name.
        progress: Receives a message per video.
    """
    for video in manifests.smaller_than(side):
        progress.message(
            f"{owner}: {printable(video.video)} is not used: it is {video.width}×{video.height} pixels, and "
            f"{purpose} needs {side}×{side}"
        )


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
    manifests = read_manifests(store, folder, data)
    ground_truth = list(read_shards(store, folder, manifests.ground_truth))
    small_clips = read_shards(store, folder, manifests.low_resolution)
    low_resolution = {info.name: frames for info, frames in small_clips}
    skipped = {entry.video for entry in manifests.low_resolution.skipped}
    pairs = []
    for info, frames in ground_truth:
        if info.source in skipped:
            continue
        if info.name not in low_resolution:
            kind = manifests.low_resolution.kind
            raise ShardError(f"{store.uri}/{folder}{kind} lacks clip {info.name!r}; run the shard step again")
        small_frames = low_resolution[info.name]
        height, width = small_frames.shape[1] * data.scale, small_frames.shape[2] * data.scale
        pairs.append(ClipPair(info.name, frames[:, :height, :width], small_frames, data.scale))
    return pairs


def dataset_digest(store: Store, folder: str, data: DataConfig) -> str:
    """Returns the digest of the clips that a configuration trains or evaluates on.

    It is the SHA-256 of the digests of the ground-truth and low-resolution shards, one per line.

    Raises:
        fedvsr.errors.NotFoundError: A manifest does not exist.
        fedvsr.errors.RecordError: A manifest is invalid.
    """
    manifests = read_manifests(store, folder, data)
    shards = manifests.ground_truth.shards + manifests.low_resolution.shards
    return bytes_digest("\n".join(shard.digest for shard in shards).encode())


def read_manifests(store: Store, folder: str, data: DataConfig) -> Manifests:
    """Reads the manifests of the shards of a configuration.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        data: The configuration, which names the degradation and the scale.

    Raises:
        fedvsr.errors.NotFoundError: A manifest does not exist.
        fedvsr.errors.RecordError: A manifest is invalid.
    """
    return Manifests(
        read_manifest(store, folder, GROUND_TRUTH), read_manifest(store, folder, low_resolution_kind(data))
    )


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


def read_shards(store: Store, folder: str, manifest: ManifestRecord) -> Iterator[tuple[ClipInfo, Frames]]:
    """Yields the clips of a manifest's shards, in order: their descriptions and their pixels, mapped.

    Raises:
        fedvsr.errors.StoreError: The store failed.
        fedvsr.errors.DataError: A shard does not match its manifest.
    """
    for shard_file in manifest.shards:
        key = layout.shard(folder, manifest.kind, shard_file.digest)
        shard = open_shard(store.local(key, shard_file.digest))
        for info in shard.clips.values():
            yield info, shard[info.name]


def _without_small(pairs: list[ClipPair], side: int, data: DataConfig) -> list[ClipPair]:
    """Returns the clips with a height and width of at least ``side`` pixels.

    If there are none, or the configuration is strict, returns all: who uses them says what is wrong.
    """
    if data.strict:
        return pairs
    return [pair for pair in pairs if min(pair.ground_truth.shape[1:3]) >= side] or pairs
