"""Divides one collection of videos among virtual clients, client-1, client-2, …"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence

from fedvsr.config.experiment import SplitConfig
from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError, VideoError
from fedvsr.progress import Progress
from fedvsr.video.split import count_below, split_videos
from fedvsr.video.split_frames import VideoPart, split_frames

Division = dict[str, tuple[VideoPart, ...]]
"""The parts of videos of each virtual client, by the client's name."""


def divide(
    videos: Sequence[str],
    split: SplitConfig,
    seed: int,
    data: DataConfig,
    labels: Mapping[str, str] | None,
    count_frames: Callable[[str], int],
    progress: Progress,
) -> Division:
    """Divides videos among virtual clients.

    The result is a function of the arguments alone, so it is the same wherever the videos lie.

    Args:
        videos: The videos' names.
        split: How to divide.
        seed: The run's seed.
        data: How clips are cut: no part has fewer than ``data.minimum_frames`` frames.
        labels: The videos' labels; None if there are none.
        count_frames: Returns a video's number of frames. Called only if frames are divided.
        progress: Shows warnings.

    Raises:
        fedvsr.errors.ConfigError: The split does not fit the videos.
        fedvsr.errors.VideoError: ``data.strict``, and a video's frames cannot be counted.
    """
    try:
        if split.unit == "frames":
            parts = _split_frames(videos, split, data, count_frames, progress)
        else:
            parts = _split_videos(videos, split, labels, seed, progress)
    except ConfigError as error:
        # The functions name their parameters clients.*; in an experiment they are in clients.split.
        field = error.field.replace("clients.", "clients.split.")
        raise ConfigError(field, error.value, error.allowed) from None
    digits = len(str(split.count))
    return {f"client-{number:0{digits}d}": tuple(part) for number, part in enumerate(parts, start=1)}


def read_labels(lines: Iterable[str]) -> dict[str, str]:
    """Reads CSV lines with a video's name and its label. Rows with one column are ignored."""
    return {row[0].strip(): row[1].strip() for row in csv.reader(lines) if len(row) > 1}


def _split_videos(
    videos: Sequence[str],
    split: SplitConfig,
    labels: Mapping[str, str] | None,
    seed: int,
    progress: Progress,
) -> list[list[VideoPart]]:
    parts = split_videos(videos, split.count, split.scheme, seed, split.alpha, labels)
    if split.scheme == "quantity-skew":
        # Half a video is rounded to one.
        small = count_below(split.count, split.scheme, split.alpha, 2 * len(videos), 1)
        if small:
            progress.message(
                f"warning: {small} of {split.count} clients would get less than half a video by "
                f"clients.split.alpha {split.alpha:g}; each gets a whole one, so the split is more even than "
                "that; set clients.split.unit to frames, or a smaller alpha"
            )
    return [[VideoPart(name, 0, None) for name in part] for part in parts]


def _split_frames(
    videos: Sequence[str],
    split: SplitConfig,
    data: DataConfig,
    count_frames: Callable[[str], int],
    progress: Progress,
) -> Sequence[Sequence[VideoPart]]:
    counts = {}
    for name in videos:
        try:
            counts[name] = count_frames(name)
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
    return parts
