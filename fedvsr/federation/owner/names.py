"""The names of an owner's videos and of their clips: unique, and valid in every record."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from fedvsr.video.listing import VIDEO_SUFFIXES
from fedvsr.video.shards import RESERVED_NAME


def is_video_file(path: PurePosixPath) -> bool:
    """Returns whether a path has the suffix of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def name_videos(paths: Sequence[PurePosixPath]) -> list[str]:
    """Names videos after their relative paths.

    A name is the path without the suffix of a video file. If two videos would have the same name, both keep
    their suffixes.

    Args:
        paths: The paths, all different.

    Returns:
        The names in the order of the paths, all different.
    """
    full_names = [valid_text(path.as_posix()) for path in paths]
    names = [
        valid_text(path.with_suffix("").as_posix()) if is_video_file(path) else full_name
        for path, full_name in zip(paths, full_names, strict=True)
    ]
    while True:
        counts = Counter(names)
        longer_names = [
            full_name if counts[name] > 1 else name for name, full_name in zip(names, full_names, strict=True)
        ]
        if longer_names == names:
            return _number_duplicates(names)
        names = longer_names


def valid_text(name: str) -> str:
    r"""Returns a file's name as valid Unicode: a byte that is not UTF-8 becomes ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _number_duplicates(names: list[str]) -> list[str]:
    """Makes names unique that differed only in how bytes are written that are not UTF-8."""
    taken: set[str] = set()
    unique_names = []
    for name in names:
        number, unique_name = 1, name
        while unique_name in taken:
            number += 1
            unique_name = f"{name} ({number})"
        taken.add(unique_name)
        unique_names.append(unique_name)
    return unique_names


class ClipNames:
    """Names the clips of an owner's videos. No two clips get the same name.

    A clip at its video's start has the video's name, and another one has ``@`` and its first frame after it.

    Args:
        videos: The names of all videos of the owner.
    """

    def __init__(self, videos: Iterable[str]) -> None:
        self._taken = {*videos, RESERVED_NAME}

    def name(self, video: str, first_frame: int) -> str:
        """Returns the name of a video's clip."""
        if first_frame == 0 and video != RESERVED_NAME:
            return video
        # Another video may be called like a clip of this one.
        separator = "@"
        while (name := f"{video}{separator}{first_frame}") in self._taken:
            separator += "@"
        self._taken.add(name)
        return name
