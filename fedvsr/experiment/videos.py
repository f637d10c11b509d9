"""Finds an experiment's videos on this machine and splits them among the clients."""

import csv
from collections.abc import Mapping
from pathlib import Path

from fedvsr.config.experiment import Experiment, SplitConfig, VideosConfig
from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError, VideoError
from fedvsr.federation.owner.videos import FederationVideos, LocalVideo, PartOfVideo, local_videos
from fedvsr.progress import Progress
from fedvsr.video.decode import count_frames
from fedvsr.video.split import count_below, split_videos
from fedvsr.video.split_frames import split_frames


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
    try:
        if split.unit == "frames":
            parts = _split_frames(videos, split, experiment.data, progress)
        else:
            parts = _split_videos(videos, split, labels, experiment.seed, progress)
    except ConfigError as error:
        # The functions name their parameters clients.*; in an experiment they are in clients.split.
        field = error.field.replace("clients.", "clients.split.")
        raise ConfigError(field, error.value, error.allowed) from None
    digits = len(str(split.count))
    return {f"client-{number:0{digits}d}": part for number, part in enumerate(parts, start=1)}


def _split_videos(
    videos: Mapping[str, LocalVideo],
    split: SplitConfig,
    labels: Mapping[str, str] | None,
    seed: int,
    progress: Progress,
) -> list[list[LocalVideo]]:
    parts = split_videos(list(videos), split.count, split.scheme, seed, split.alpha, labels)
    if split.scheme == "quantity-skew":
        # Half a video is rounded to one.
        small = count_below(split.count, split.scheme, split.alpha, 2 * len(videos), 1)
        if small:
            progress.message(
                f"warning: {small} of {split.count} clients would get less than half a video by "
                f"clients.split.alpha {split.alpha:g}; each gets a whole one, so the split is more even than "
                "that; set clients.split.unit to frames, or a smaller alpha"
            )
    return [[videos[name] for name in part] for part in parts]


def _split_frames(
    videos: Mapping[str, LocalVideo], split: SplitConfig, data: DataConfig, progress: Progress
) -> list[list[LocalVideo]]:
    counts = {}
    for name, video in videos.items():
        try:
            counts[name] = count_frames(video.path)
        except VideoError as error:
            if data.strict:
                raise
            progress.message(f"warning: {name} is not split among the clients: {error}")
    least = data.minimum_frames
    parts = split_frames(counts, split.count, split.scheme, least, split.alpha)
    total = sum(count for count in counts.values() if count >= least)
    small = count_below(split.count, split.scheme, split.alpha, total, least)
    if small:
        progress.message(
            f"warning: {small} of {split.count} clients would get fewer than {least} frames "
            f"(data.minimum_frames) by clients.split.alpha {split.alpha:g}; each gets that many"
        )
    return [
        [_part(videos[piece.video], piece.first_frame, piece.stop_frame) for piece in part] for part in parts
    ]


def _part(video: LocalVideo, first_frame: int, stop_frame: int | None) -> LocalVideo:
    is_whole = first_frame == 0 and stop_frame is None
    return video if is_whole else PartOfVideo(video, first_frame, stop_frame)


def _read_labels(path: Path) -> dict[str, str]:
    """Reads a CSV file with a video's name and its label in each row. Rows with one column are ignored."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0].strip(): row[1].strip() for row in csv.reader(file) if len(row) > 1}
    except OSError as error:
        raise ConfigError(
            "clients.split.labels", str(path), f"it must be readable ({error.strerror})"
        ) from None
