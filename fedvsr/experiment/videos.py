"""Finds an experiment's videos on this machine and splits them among the clients."""

from pathlib import Path

from fedvsr.config.experiment import Experiment, SplitConfig, VideosConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.owner.division import divide, read_labels
from fedvsr.federation.owner.videos import FederationVideos, LocalVideo, PartOfVideo, local_videos
from fedvsr.progress import Progress
from fedvsr.video.decode import count_frames
from fedvsr.video.split_frames import VideoPart


def collect_videos(experiment: Experiment, progress: Progress | None = None) -> FederationVideos:
    """Finds each client's videos and the held-out ones.

    Args:
        experiment: The experiment.
        progress: Shows warnings about a split.

    Raises:
        fedvsr.errors.ConfigError: No clients or held-out videos are named, or a video is in the store.
        fedvsr.errors.VideoError: A folder holds no video.
    """
    clients: dict[str, list[LocalVideo]] = {}
    if experiment.clients.split:
        clients = _split(experiment.clients.split, experiment, progress or Progress())
    # The configuration refuses `videos` and `split` together, so no client of a split is replaced.
    for name, videos_config in experiment.clients.videos.items():
        clients[name] = local_videos(Path(videos_config.path), videos_config.pattern)
    requested_clients = experiment.federation.clients
    for name in requested_clients:
        if name not in clients:
            known_names = ", ".join(clients) or "no client"
            raise ConfigError("federation.clients", name, f"the clients section has {known_names}")
    if requested_clients:
        clients = {name: clients[name] for name in requested_clients}
    if not clients:
        raise ConfigError("clients", "nothing", "set clients.videos or clients.split: at least one client")
    if experiment.evaluation_videos is None:
        raise ConfigError("evaluation_videos", "nothing", "name the held-out videos")
    held_out: VideosConfig = experiment.evaluation_videos
    videos = FederationVideos(clients, local_videos(Path(held_out.path), held_out.pattern))
    _refuse_videos_in_store(videos, experiment.store)
    return videos


def _refuse_videos_in_store(videos: FederationVideos, store: str) -> None:
    """Refuses videos inside the store, because the next run would train on this run's upscaled clip."""
    if "://" in store:
        return
    root = Path(store).resolve()
    for owner_videos in (*videos.clients.values(), videos.held_out):
        for video in owner_videos:
            if video.path.resolve().is_relative_to(root):
                raise ConfigError(
                    "store", store, f"the video {video.path} lies in it; move the video or the store"
                )


def _split(split: SplitConfig, experiment: Experiment, progress: Progress) -> dict[str, list[LocalVideo]]:
    """Splits a folder's videos among virtual clients, client-1, client-2, …"""
    videos = {video.name: video for video in local_videos(Path(split.path), split.pattern)}
    labels = _read_labels(Path(split.labels)) if split.labels else None

    def count(name: str) -> int:
        return count_frames(videos[name].path)

    division = divide(list(videos), split, experiment.seed, experiment.data, labels, count, progress)
    return {client: [_part(videos[part.video], part) for part in parts] for client, parts in division.items()}


def _part(video: LocalVideo, part: VideoPart) -> LocalVideo:
    is_whole = part.first_frame == 0 and part.stop_frame is None
    return video if is_whole else PartOfVideo(video, part.first_frame, part.stop_frame)


def _read_labels(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return read_labels(file)
    except OSError as error:
        raise ConfigError(
            "clients.split.labels", str(path), f"it must be readable ({error.strerror})"
        ) from None
