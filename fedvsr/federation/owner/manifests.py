"""Reads the manifests of an owner's shards."""

from fedvsr.config.run import DataConfig
from fedvsr.errors import NotFoundError, ShardError
from fedvsr.federation import layout
from fedvsr.federation.records import read_record
from fedvsr.federation.shard_records import ManifestRecord, Manifests
from fedvsr.store.base import Store
from fedvsr.video.shards import GROUND_TRUTH, shard_kind


def low_resolution_kind(data: DataConfig) -> str:
    """Returns the kind of the low-resolution shards, for example ``bi-x4``."""
    return shard_kind(data.degradation, data.scale)


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


def find_manifest(store: Store, folder: str, kind: str) -> ManifestRecord | None:
    """Reads the manifest of one kind of shards, or returns None if there is none."""
    try:
        return read_manifest(store, folder, kind)
    except NotFoundError:
        return None


def lacks_clip(store: Store, folder: str, kind: str, clip: str) -> ShardError:
    """Returns the error for a clip of the ground truth that has no low resolution."""
    return ShardError(f"{store.uri}/{folder}{kind} lacks clip {clip!r}; run the shard step again")
