"""Fingerprints of an owner's videos, and what they tell about changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedvsr.errors import VideoError
from fedvsr.federation.owner.videos import Video
from fedvsr.federation.shard_records import ManifestRecord
from fedvsr.progress import Progress
from fedvsr.text import printable

_MAX_NAMES = 3


@dataclass(frozen=True)
class Fingerprint:
    """A video's fingerprint.

    Attributes:
        value: A string that changes if the video's bytes change.
        problem: The reason if the video's bytes cannot be read, else empty.
    """

    value: str
    problem: str = ""


def take_fingerprints(videos: Sequence[Video], progress: Progress) -> list[Fingerprint]:
    """Returns the fingerprint of each video.

    Raises:
        fedvsr.errors.StoreError: The store failed.
    """
    fingerprints = []
    with progress.stage("fingerprint", len(videos)) as advance:
        for done, video in enumerate(videos, start=1):
            try:
                fingerprints.append(Fingerprint(video.fingerprint()))
            except VideoError as error:
                fingerprints.append(Fingerprint("unreadable", str(error)))
            advance(done, printable(video.name))
    return fingerprints


def describe_changes(
    manifest: ManifestRecord, videos: Sequence[Video], fingerprints: Sequence[Fingerprint]
) -> str:
    """Describes how videos differ from those that a manifest was made from.

    Returns:
        For example ``1 added (b), 2 removed (c, d)``; empty if the manifest is older than the list of videos
        in it.
    """
    before = {entry.video: entry.fingerprint for entry in manifest.videos}
    before |= {entry.video: entry.fingerprint for entry in manifest.skipped}
    if not before:
        return ""
    now = {video.name: fingerprint.value for video, fingerprint in zip(videos, fingerprints, strict=True)}
    changes = {
        "added": [name for name in now if name not in before],
        "changed": [name for name in now if name in before and now[name] != before[name]],
        "removed": [name for name in before if name not in now],
    }
    return ", ".join(f"{len(names)} {verb} ({list_names(names)})" for verb, names in changes.items() if names)


def list_names(names: Sequence[str]) -> str:
    """Returns the first names as one line, and how many more there are."""
    more = len(names) - _MAX_NAMES
    listed = ", ".join(printable(name) for name in names[:_MAX_NAMES])
    return f"{listed} and {more} more" if more > 0 else listed
