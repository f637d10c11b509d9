"""Splits the frames of a collection of videos among clients, as FedVSR's code divides REDS."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import ConfigError
from fedvsr.video.listing import natural_key
from fedvsr.video.split import client_shares


@dataclass(frozen=True)
class VideoPart:
    """Consecutive frames of a video.

    Attributes:
        video: The video's name.
        first_frame: The first frame, counted from 0.
        stop_frame: The frame after the last one; None for the video's end.
    """

    video: str
    first_frame: int
    stop_frame: int | None


def split_frames(
    frame_counts: Mapping[str, int], client_count: int, scheme: str, minimum_frames: int, alpha: float = 0.1
) -> tuple[tuple[VideoPart, ...], ...]:
    """Splits the frames of all videos, in natural order, into one consecutive part per client.

    A client's share is that of `fedvsr.video.split.client_shares`, and at least ``minimum_frames``: what the
    smallest shares get more is taken from the others in proportion. A video is divided only where both sides
    keep ``minimum_frames`` of its frames, because shorter pieces make no clip. So each part ends at the
    possible place that is nearest to its share's end. Videos with fewer frames go to nobody.

    Source: FedVSR's code (https://github.com/alimd94/FedVSR, IART/dataset.py), which divides anywhere and may
    leave clients without a frame.

    Args:
        frame_counts: Each video's number of frames.
        client_count: Number of clients, at least 1.
        scheme: ``equal`` or ``quantity-skew``.
        minimum_frames: The least number of frames of a clip, at least 1.
        alpha: See `fedvsr.video.split.client_shares`.

    Returns:
        Each client's parts of videos, in natural order.

    Raises:
        fedvsr.errors.ConfigError: There are not enough frames for so many clients, or alpha is not finite.
    """
    names = sorted((name for name, count in frame_counts.items() if count >= minimum_frames), key=natural_key)
    lengths = np.array([frame_counts[name] for name in names], np.int64)
    capacity = int((lengths // minimum_frames).sum())
    if not 1 <= client_count <= capacity:
        raise ConfigError(
            "clients.count",
            client_count,
            f"each client needs {minimum_frames} frames of one video (data.minimum_frames), so with these "
            f"videos it must be between 1 and {capacity}",
        )
    ends = np.cumsum(lengths)
    wanted = np.cumsum(_at_least(client_shares(client_count, scheme, alpha), int(ends[-1]), minimum_frames))
    cuts = _possible_cuts(lengths, ends, minimum_frames)
    # How many clients the frames after each possible cut suffice for; it never rises.
    video = np.minimum(np.searchsorted(ends, cuts, side="right"), len(ends) - 1)
    later = np.cumsum((lengths // minimum_frames)[::-1])[::-1] - lengths // minimum_frames
    room = (ends[video] - cuts) // minimum_frames + later[video]
    parts = []
    start = 0
    for client in range(client_count):
        others = client_count - client - 1
        lowest = int(np.searchsorted(cuts, start + minimum_frames))
        highest = int(np.searchsorted(-room, -others, side="right")) - 1
        end = _nearest(cuts[lowest : highest + 1], wanted[client]) if others else int(ends[-1])
        parts.append(_parts_between(start, end, names, lengths, ends))
        start = end
    return tuple(parts)


def _at_least(shares: NDArray[np.float64], total: int, least: int) -> NDArray[np.float64]:
    """Returns numbers that sum to the total, in proportion to the shares, but none below the least."""
    small = np.zeros(len(shares), bool)
    while True:
        large = np.where(small, 0.0, shares)
        # If all are small, the total is just enough for them.
        factor = (total - least * small.sum()) / large.sum() if large.any() else 0.0
        numbers = np.where(small, float(least), factor * shares)
        smaller = small | (numbers < least)
        if (smaller == small).all():
            return numbers
        small = smaller


def _possible_cuts(
    lengths: NDArray[np.int64], ends: NDArray[np.int64], minimum_frames: int
) -> NDArray[np.int64]:
    """Returns where all frames may be cut: between videos, and far enough from both ends of a video."""
    cuts = []
    for length, end in zip(lengths.tolist(), ends.tolist(), strict=True):
        cuts.append(np.arange(end - length + minimum_frames, end - minimum_frames + 1))
        cuts.append(np.array([end]))
    return np.concatenate(cuts)


def _nearest(cuts: NDArray[np.int64], wanted: float) -> int:
    return int(cuts[np.argmin(np.abs(cuts - wanted))])


def _parts_between(
    start: int, end: int, names: list[str], lengths: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[VideoPart, ...]:
    parts = []
    for index in range(int(np.searchsorted(ends, start, side="right")), len(names)):
        video_start = int(ends[index] - lengths[index])
        if video_start >= end:
            break
        stop = None if ends[index] <= end else end - video_start
        parts.append(VideoPart(names[index], max(start - video_start, 0), stop))
    return tuple(parts)
