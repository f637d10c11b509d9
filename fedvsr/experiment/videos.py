"""Where an experiment's videos are on this machine, and whose they are."""

import csv
from pathlib import Path

from fedvsr.config.experiment import Experiment, SplitConfig, VideosConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.owner.sources import LocalSource, local_sources
from fedvsr.federation.run.rounds import Videos
from fedvsr.video.partition import partition


def collect_videos(experiment: Experiment) -> Videos:
    """Finds each client's videos and the held-out ones.

    Raises:
        fedvsr.errors.ConfigError: There are no clients or no held-out videos.
        fedvsr.errors.VideoError: A folder holds no video.
    """
    clients: dict[str, list[LocalSource]] = {}
    if experiment.clients.split:
        clients = _split(experiment.clients.split, experiment.seed)
    for name, source in experiment.clients.videos.items():
        clients[name] = local_sources(Path(source.path), source.pattern)
    wanted = experiment.federation.clients
    for name in wanted:
        if name not in clients:
            raise ConfigError("federation.clients", name, f"the clients section has {', '.join(clients)}")
    if wanted:
        clients = {name: clients[name] for name in wanted}
    if not clients:
        raise ConfigError("clients", "nothing", "give clients.videos or clients.split: at least one client")
    if experiment.evaluation_videos is None:
        raise ConfigError("evaluation_videos", "nothing", "name the held-out videos")
    held_out: VideosConfig = experiment.evaluation_videos
    found = Videos(clients, local_sources(Path(held_out.path), held_out.pattern))
    _check_outside(found, experiment.store)
    return found


def _check_outside(videos: Videos, store: str) -> None:
    """Refuses videos below the store: a run's own results would be the next run's videos."""
    root = Path(store).resolve()
    for found in (*videos.clients.values(), videos.evaluation):
        for video in found:
            if "://" not in store and video.path.resolve().is_relative_to(root):
                raise ConfigError("store", store, f"the video {video.path} lies in it; put one elsewhere")


def _split(split: SplitConfig, seed: int) -> dict[str, list[LocalSource]]:
    found = {each.name: each for each in local_sources(Path(split.path), split.pattern)}
    labels = _read_labels(Path(split.labels)) if split.labels else None
    try:
        parts = partition(list(found), split.count, split.scheme, seed, split.alpha, labels)
    except ConfigError as error:
        field = error.field.replace("clients.", "clients.split.")
        raise ConfigError(field, error.value, error.allowed) from None
    digits = len(str(split.count))
    return {
        f"client-{number:0{digits}d}": [found[name] for name in part]
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
