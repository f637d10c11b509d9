"""Finds an experiment's videos on this machine and divides them among the clients."""

import csv
from pathlib import Path

from fedvsr.config.experiment import Experiment, SplitConfig, VideosConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.owner.sources import LocalSource, local_sources
from fedvsr.federation.run.rounds import Videos
from fedvsr.video.split import split_videos


def collect_videos(experiment: Experiment) -> Videos:
    """Finds each client's videos and the held-out ones.

    Raises:
        fedvsr.errors.ConfigError: No clients or held-out videos are named, or a video is in the store.
        fedvsr.errors.VideoError: A folder holds no video.
    """
    clients: dict[str, list[LocalSource]] = {}
    if experiment.clients.split:
        clients = _split(experiment.clients.split, experiment.seed)
    for name, source in experiment.clients.videos.items():
        clients[name] = local_sources(Path(source.path), source.pattern)
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
    videos = Videos(clients, local_sources(Path(held_out.path), held_out.pattern))
    _check_outside(videos, experiment.store)
    return videos


def _check_outside(videos: Videos, store: str) -> None:
    """Refuses videos below the store: a run's upscaled clip would become the next run's video."""
    if "://" in store:
        return
    root = Path(store).resolve()
    for sources in (*videos.clients.values(), videos.evaluation):
        for video in sources:
            if video.path.resolve().is_relative_to(root):
                raise ConfigError(
                    "store", store, f"the video {video.path} lies in it; move the video or the store"
                )


def _split(split: SplitConfig, seed: int) -> dict[str, list[LocalSource]]:
    videos = {video.name: video for video in local_sources(Path(split.path), split.pattern)}
    labels = _read_labels(Path(split.labels)) if split.labels else None
    try:
        parts = split_videos(list(videos), split.count, split.scheme, seed, split.alpha, labels)
    except ConfigError as error:
        field = error.field.replace("clients.", "clients.split.")
        raise ConfigError(field, error.value, error.allowed) from None
    digits = len(str(split.count))
    return {
        f"client-{number:0{digits}d}": [videos[name] for name in part]
        for number, part in enumerate(parts, start=1)
    }


def _read_labels(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0].strip(): row[1].strip() for row in csv.reader(file) if len(row) > 1}
    except OSError as error:
        raise ConfigError(
            "clients.split.labels", str(path), f"it must be readable ({error.strerror})"
        ) from None
