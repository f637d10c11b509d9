"""The videos that owners turn into shards, on this machine or in a store."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedvsr.store.base import Store, bytes_digest, file_digest
from fedvsr.video.listing import IMAGE_SUFFIXES, VIDEO_SUFFIXES, list_videos, natural_key


class Video(ABC):
    """A video: one file, or a folder of frames.

    Attributes:
        name: The video's name, from which its clips get theirs; unique among an owner's videos.
    """

    name: str

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns a string that changes if the video's bytes change."""

    @abstractmethod
    def as_local_path(self) -> AbstractContextManager[Path]:
        """Returns a context manager that yields a local path of the video."""


class LocalVideo(Video):
    """A video on this machine."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def fingerprint(self) -> str:
        if self.path.is_file():
            return file_digest(self.path)
        files = sorted(path for path in self.path.iterdir() if path.is_file())
        lines = (f"{path.name} {file_digest(path)}" for path in files)
        return bytes_digest("\n".join(lines).encode())

    def as_local_path(self) -> AbstractContextManager[Path]:
        return nullcontext(self.path)


class StoredVideo(Video):
    """A video in a store. `as_local_path` yields a temporary copy.

    Args:
        store: The owner's store.
        name: The video's name.
        keys: The key of its file, or the keys of its frames; at least one.
    """

    def __init__(self, store: Store, name: str, keys: Sequence[str]) -> None:
        self.name = name
        self._store = store
        self._keys = tuple(keys)

    def fingerprint(self) -> str:
        lines = (f"{key} {self._store.fingerprint(key)}" for key in self._keys)
        return bytes_digest("\n".join(lines).encode())

    @contextmanager
    def as_local_path(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fedvsr-video-") as temporary:
            folder = Path(temporary)
            for key in self._keys:
                self._store.download(key, folder / PurePosixPath(key).name)
            first_key = PurePosixPath(self._keys[0])
            yield folder / first_key.name if _is_video_file(first_key) else folder


@dataclass(frozen=True)
class FederationVideos:
    """A federation's videos on this machine.

    Attributes:
        clients: Each client's videos, by the client's name.
        held_out: The held-out videos.
    """

    clients: Mapping[str, Sequence[LocalVideo]]
    held_out: Sequence[LocalVideo]


def local_videos(root: Path, pattern: str = "") -> list[LocalVideo]:
    """Returns the video at a path or, if the path is a folder, all videos in it, in natural order.

    A video's name is its path relative to the folder, without the suffix. If two videos would have the same
    name, both keep their suffixes.

    Args:
        root: A video, or a folder of video files or frame folders, at any depth.
        pattern: A glob as in `fedvsr.video.listing.list_videos`. An empty string accepts every video.

    Raises:
        fedvsr.errors.VideoError: The path holds no video.
    """
    paths = list_videos(root, pattern or None)
    names = _name_videos([_relative(path, root) for path in paths])
    return [LocalVideo(name, path) for name, path in zip(names, paths, strict=True)]


def stored_videos(store: Store, folder: str) -> list[StoredVideo]:
    """Returns the videos in a folder of a store, at any depth, in natural order. The list may be empty.

    Names are as in `local_videos`.

    Args:
        store: The owner's store.
        folder: A key prefix that ends with a slash, such as `fedvsr.federation.layout.RAW_VIDEOS`.

    Raises:
        fedvsr.errors.StoreError: The store failed.
    """
    groups: dict[PurePosixPath, list[str]] = {}
    for key in store.keys(folder):
        path = PurePosixPath(key).relative_to(folder)
        if _is_video_file(path):
            groups[path] = [key]
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            groups.setdefault(path.parent, []).append(key)
    paths = sorted(groups, key=lambda path: natural_key(path.as_posix()))
    return [
        StoredVideo(store, name, groups[path]) for name, path in zip(_name_videos(paths), paths, strict=True)
    ]


def _relative(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.name if path == root else path.relative_to(root).as_posix())


def _name_videos(paths: Sequence[PurePosixPath]) -> list[str]:
    short_names = [(path.with_suffix("") if _is_video_file(path) else path).as_posix() for path in paths]
    return [
        path.as_posix() if short_names.count(name) > 1 else name
        for name, path in zip(short_names, paths, strict=True)
    ]


def _is_video_file(path: PurePosixPath) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES
