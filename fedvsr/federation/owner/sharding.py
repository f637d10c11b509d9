"""Sharding what lies in the stores: the step of a pipeline, where nobody has a folder of videos."""

from fedvsr.config.run import DataConfig
from fedvsr.errors import NotFoundError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import low_resolution_kind, read_manifest, shard_videos
from fedvsr.federation.owner.sources import stored_sources
from fedvsr.federation.shard_records import ManifestRecord
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace


def shard_client(
    workspace: Workspace, client: str, data: DataConfig, progress: Progress | None = None
) -> ManifestRecord:
    """Makes a client's shards from the videos in its own store, or finds them current.

    Returns:
        The manifest of the low-resolution shards.

    Raises:
        fedvsr.errors.VideoError: It has neither videos nor shards.
    """
    return _shard(
        workspace.client(client),
        layout.RAW_VIDEOS,
        layout.training_clips(data.dataset),
        data,
        progress,
    )


def shard_evaluation(
    workspace: Workspace, data: DataConfig, progress: Progress | None = None
) -> ManifestRecord:
    """Makes the held-out clips' shards from the videos in the federation's store, or finds them current.

    Returns:
        The manifest of the low-resolution shards.

    Raises:
        fedvsr.errors.VideoError: There are neither videos nor shards.
    """
    return _shard(
        workspace.federation(),
        layout.EVALUATION_VIDEOS,
        layout.evaluation_clips(data.dataset),
        data,
        progress,
    )


def _shard(
    store: Store, videos: str, folder: str, data: DataConfig, progress: Progress | None
) -> ManifestRecord:
    sources = stored_sources(store, videos)
    if sources:
        return shard_videos(store, folder, sources, data, progress)[1]
    try:
        # Whoever sharded elsewhere has shards and no videos here.
        return read_manifest(store, folder, low_resolution_kind(data))
    except NotFoundError:
        raise VideoError(
            f"{store.uri}/{videos} holds no video and {store.uri}/{folder} no shards; put videos there first"
        ) from None
