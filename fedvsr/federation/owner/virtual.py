"""Virtual clients in a deployment: their videos lie in the federation's store and are divided among them."""

from pathlib import PurePosixPath

from fedvsr.config.experiment import SplitConfig
from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError, NotFoundError, RecordError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.division_records import DivisionRecord, find_division
from fedvsr.federation.owner.division import divide, read_labels
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import StoredVideo, stored_videos
from fedvsr.federation.shard_records import Manifests
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.video.split_frames import VideoPart


def divide_stored_videos(
    store: Store, split: SplitConfig, seed: int, data: DataConfig, progress: Progress
) -> DivisionRecord:
    """Divides the videos in the federation's store among virtual clients, as `fedvsr run` divides a folder.

    Args:
        store: The federation's store, with the videos in `layout.TRAINING_VIDEOS`.
        split: How to divide. Its path is ignored, and its labels are the name of a file beside the videos.
        seed: The run's seed.
        data: How clips are cut.
        progress: Shows warnings.

    Raises:
        fedvsr.errors.ConfigError: The split does not fit the videos, or its labels cannot be read.
        fedvsr.errors.VideoError: The store has no such video.
    """
    videos = _videos(store, split.pattern)
    if not videos:
        matching = f" that matches {split.pattern!r}" if split.pattern else ""
        raise VideoError(
            f"{store.uri}/{layout.TRAINING_VIDEOS} holds no video{matching}; upload the videos of the "
            "virtual clients with `fedvsr upload --training`"
        )
    labels = _read_labels(store, split.labels) if split.labels else None

    def count(name: str) -> int:
        # Imported here because only a division of frames decodes videos.
        from fedvsr.video.decode import count_frames

        with videos[name].as_local_path() as path:
            return count_frames(path)

    clients = divide(list(videos), split, seed, data, labels, count, progress)
    return DivisionRecord(pattern=split.pattern, clients=clients)


def shard_virtual_client(
    workspace: Workspace,
    division: DivisionRecord,
    client: str,
    data: DataConfig,
    progress: Progress | None = None,
) -> Manifests:
    """Makes a virtual client's shards in its own store, unless they are current.

    Args:
        workspace: The stores.
        division: The run's division.
        client: The client's name.
        data: How to cut and degrade.
        progress: Reports progress per video and clip.

    Raises:
        fedvsr.errors.VideoError: A video is not in the store any more, or none can be used.
        fedvsr.errors.StoreError: The store failed; run it again to continue.
    """
    stored = _videos(workspace.federation(), division.pattern)
    videos = [_part(stored, part) for part in division.clients[client]]
    folder = layout.training_clips(data.dataset)
    return shard_videos(workspace.client(client), folder, videos, data, client, progress)


def read_own_division(store: Store, run: str, client: str) -> DivisionRecord:
    """Returns a run's division, which has the client.

    Raises:
        fedvsr.errors.RecordError: The run has no division, or the client is not in it.
    """
    division = find_division(store, run)
    if division is None or client not in division.clients:
        raise RecordError(f"run {run!r} has no virtual client {client!r}; submit the run again")
    return division


def _videos(store: Store, pattern: str) -> dict[str, StoredVideo]:
    return {video.name: video for video in stored_videos(store, layout.TRAINING_VIDEOS, pattern)}


def _part(stored: dict[str, StoredVideo], part: VideoPart) -> StoredVideo:
    if part.video not in stored:
        raise VideoError(
            f"{part.video} is not in {layout.TRAINING_VIDEOS} any more; upload it, or submit the run again"
        )
    return stored[part.video].part(part.first_frame, part.stop_frame)


def _read_labels(store: Store, labels: str) -> dict[str, str]:
    key = layout.TRAINING_VIDEOS + PurePosixPath(labels).name
    try:
        return read_labels(store.read(key).decode("utf-8", "replace").splitlines())
    except NotFoundError:
        raise ConfigError(
            "clients.split.labels", labels, f"put the file into {store.uri}/{layout.TRAINING_VIDEOS}"
        ) from None
