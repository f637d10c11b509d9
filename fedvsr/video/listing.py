"""Finds the videos in folders: files of known suffixes, and folders of images."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from fedvsr.errors import VideoError

VIDEO_SUFFIXES = frozenset(
    {
        ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265",
        ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
        ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})

ACCEPTED = (
    f"a video file ({' '.join(sorted(VIDEO_SUFFIXES))}) "
    f"or a folder of images ({' '.join(sorted(IMAGE_SUFFIXES))})"
)
"""What a video can be, for error messages."""


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Returns a sort key that puts ``clip2`` before ``clip10``."""
    # With a group, re.split alternates text and digits, so texts and numbers are never compared with each
    # other.
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name


def list_videos(root: Path, pattern: str | None = None) -> list[Path]:
    """Returns the videos in a folder, at any depth, in natural order of their relative paths.

    A video is one of:

    - a file with a suffix of `VIDEO_SUFFIXES`;
    - a folder that directly contains images and no video file. Images next to a video file are assumed to be
      posters.

    This covers the layouts of REDS (``000/00000000.png``), Vimeo-90K (``00001/0001/im1.png``), Vid4
    (``calendar/*.png``) and UDM10 (``archpeople/truth/0000.png``). Names that begin with a dot are
    skipped.

    Args:
        root: A folder of videos, or one video.
        pattern: A glob (``train_*.mp4``, ``*/blur4/*``) that a video's path relative to ``root``
            must match, from its right end (`pathlib.PurePath.match`). None accepts every video.

    Returns:
        At least one path, each in ``root`` or ``root`` itself.

    Raises:
        fedvsr.errors.VideoError: ``root`` does not exist or has no such video.
    """
    if not root.exists():
        raise VideoError(f"{root}: no such file or folder; give {ACCEPTED}")
    videos = list(_walk(root))
    if pattern is not None:
        videos = [path for path in videos if _relative(path, root).match(pattern)]
    if not videos:
        condition = "" if pattern is None else f" that matches {pattern!r}"
        raise VideoError(f"{root}: no video{condition} was found; a video is {ACCEPTED}")
    return sorted(videos, key=lambda path: [natural_key(part) for part in _relative(path, root).parts])


def _walk(root: Path) -> Iterator[Path]:
    """Yields the videos at a path and in it, in the file system's order."""
    if root.is_file() and root.suffix.lower() in VIDEO_SUFFIXES:
        yield root
    visited: set[Path] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        path = Path(folder)
        if path.resolve() in visited:  # a symbolic link to a folder above
            subfolders.clear()
            continue
        visited.add(path.resolve())
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = [name for name in files if not name.startswith(".")]
        videos = [name for name in visible if PurePath(name).suffix.lower() in VIDEO_SUFFIXES]
        yield from (path / name for name in videos)
        if not videos and any(PurePath(name).suffix.lower() in IMAGE_SUFFIXES for name in visible):
            yield path


def _relative(path: Path, root: Path) -> PurePath:
    return PurePath(root.name) if path == root else path.relative_to(root)
