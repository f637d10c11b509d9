"""Makes shards from the videos in the stores. The pipeline's shard step uses this.

`fedvsr.federation.owner.shards` makes shards from videos anywhere, such as a folder on this machine.
"""

from fedvsr.config.run import DataConfig
from fedvsr.errors import NotFoundError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.manifests import read_manifests
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import stored_videos
from fedvsr.federation.shard_records import Manifests
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace


def shard_client(
    workspace: Workspace, client: str, data: DataConfig, progress: Progress | None = None
) -> Manifests:
    """Makes a client's shards from the videos in its own store, unless they are current.

    Args:
        workspace: The stores.
        client: The client's name.
        data: How to cut and degrade.
        progress: Reports progress per video and clip.

    Returns:
        The manifests of the shards.

    Raises:
        fedvsr.errors.VideoError: The client has neither videos nor shards, or none that can be used.
        fedvsr.errors.StoreError: The store failed; run it again to continue.
    """
    return _shard(
        workspace.client(client),
        layout.RAW_VIDEOS,
        layout.training_clips(data.dataset),
        data,
        client,
        progress,
    )


def shard_held_out(workspace: Workspace, data: DataConfig, progress: Progress | None = None) -> Manifests:
    """Makes the held-out clips' shards from the videos in the federation's store, unless they are current.

    Args:
        workspace: The stores.
        data: How to cut and degrade.
        progress: Reports progress per video and clip.

    Returns:
        The manifests of the shards.

    Raises:
        fedvsr.errors.VideoError: The store has neither videos nor shards, or none that can be used.
        fedvsr.errors.StoreError: The store failed; run it again to continue.
    """
    return _shard(
        workspace.federation(),
        layout.HELD_OUT_VIDEOS,
        layout.held_out_clips(data.dataset),
        data,
        layout.HELD_OUT,
        progress,
    )


def _shard(
    store: Store,
    videos_folder: str,
    shards_folder: str,
    data: DataConfig,
    owner: str,
    progress: Progress | None,
) -> Manifests:
    videos = stored_videos(store, videos_folder)
    if videos:
        return shard_videos(store, shards_folder, videos, data, owner, progress)
    try:
        # An owner that made its shards elsewhere may have uploaded only the shards.
        return read_manifests(store, shards_folder, data)
    except NotFoundError:
        raise VideoError(
            f"{store.uri}/{videos_folder} holds no video and {store.uri}/{shards_folder} no shards; "
            "upload videos first"
        ) from None
