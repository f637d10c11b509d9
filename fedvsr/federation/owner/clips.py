"""Opens an owner's shards as clips."""

from fedvsr.config.run import DataConfig, EvaluationConfig, RunConfig
from fedvsr.federation import layout
from fedvsr.federation.owner.manifests import lacks_clip, read_manifests
from fedvsr.federation.owner.names import ClipNames
from fedvsr.federation.owner.older_shards import open_older_clips
from fedvsr.federation.owner.stored_frames import KindOfShards, StoredClipFrames, StoredVideoFrames
from fedvsr.federation.shard_records import COMPUTED, Manifests
from fedvsr.metrics.ssim import MIN_SIDE
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.text import printable
from fedvsr.video.degradations.computed import ComputedLowResolution
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.patches import ClipPair
from fedvsr.video.pixels import Pixels


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
    """Opens clips. Pixels are read, checked and decoded when a slice of a clip is taken.

    Args:
        store: The owner's store.
        folder: The shards' folder: `layout.training_clips` or `layout.held_out_clips`.
        data: The configuration, which names the degradation and the scale.

    Returns:
        The clips in the order of the manifest. Ground truth is cropped to a multiple of the scale.

    Raises:
        fedvsr.errors.NotFoundError: The shards do not exist.
        fedvsr.errors.DataError: A manifest is invalid, or a clip has no low-resolution frames.
    """
    manifests = read_manifests(store, folder, data)
    if manifests.ground_truth.is_older:
        return open_older_clips(store, folder, manifests, data)
    ground_truth, low_resolution = manifests.ground_truth, manifests.low_resolution
    names = ClipNames(video.video for video in ground_truth.videos)
    skipped = {entry.video for entry in low_resolution.skipped}
    small_videos = {video.video: video for video in low_resolution.videos}
    shards = KindOfShards(store, folder, ground_truth.kind)
    small_shards = KindOfShards(store, folder, low_resolution.kind)
    degradation = get_degradation(data.degradation)
    pairs = []
    for video in ground_truth.videos:
        if video.video in skipped:
            continue
        small_video = small_videos.get(video.video)
        if small_video is None or small_video.fingerprint != video.record:
            raise lacks_clip(store, folder, low_resolution.kind, video.video)
        frames = StoredVideoFrames(shards, ground_truth.identity_of(video), video)
        small_frames = StoredVideoFrames(small_shards, low_resolution.identity_of(small_video), small_video)
        height, width = small_video.height, small_video.width
        for (first_frame, count), position, small_position in zip(
            video.shots, video.positions, small_video.positions, strict=True
        ):
            shape = (count, height * data.scale, width * data.scale, 3)
            clip = StoredClipFrames(frames, position, shape)
            small_clip: Pixels = (
                ComputedLowResolution(clip, degradation, data.scale)
                if small_video.storage == COMPUTED
                else StoredClipFrames(small_frames, small_position, (count, height, width, 3))
            )
            name = names.name(video.video, first_frame)
            pairs.append(ClipPair(name, clip, small_clip, data.scale, video.fps))
    return pairs


def dataset_digest(store: Store, folder: str, data: DataConfig) -> str:
    """Returns the digest of the clips that a configuration trains or evaluates on.

    It is the SHA-256 of the digests of the videos' records, ground truth first, one per line.

    Raises:
        fedvsr.errors.NotFoundError: A manifest does not exist.
        fedvsr.errors.RecordError: A manifest is invalid.
    """
    manifests = read_manifests(store, folder, data)
    digests = manifests.ground_truth.digests + manifests.low_resolution.digests
    return bytes_digest("\n".join(digests).encode())


def _without_small(pairs: list[ClipPair], side: int, data: DataConfig) -> list[ClipPair]:
    """Returns the clips with a height and width of at least ``side`` pixels.

    If there are none, or the configuration is strict, returns all: who uses them says what is wrong.
    """
    if data.strict:
        return pairs
    return [pair for pair in pairs if min(pair.ground_truth.shape[1:3]) >= side] or pairs
