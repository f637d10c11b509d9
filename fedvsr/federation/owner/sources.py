"""Where videos are when they are sharded: on this machine, or in a store."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath

from fedvsr.store.base import Store, bytes_digest, file_digest
from fedvsr.video.decode import IMAGE_SUFFIXES, VIDEO_SUFFIXES, list_videos, natural_key


class Source(ABC):
    """A video: one file, or a folder of frames.

    Attributes:
        name: What its clips are called; unique among the videos that are sharded together.
    """

    name: str

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns what changes when the video changes."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Path]:
        """Gives the video as a local path for as long as it is decoded."""


class LocalSource(Source):
    """A video on this machine."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def fingerprint(self) -> str:
        if self.path.is_file():
            return file_digest(self.path)
        files = sorted(each for each in self.path.iterdir() if each.is_file())
        return bytes_digest("\n".join(f"{each.name} {file_digest(each)}" for each in files).encode())

    def open(self) -> AbstractContextManager[Path]:
        return nullcontext(self.path)


class StoredSource(Source):
    """A video in a store; it is copied to this machine while it is decoded, and only then.

    Args:
        store: Its owner's store.
        name: The video's name.
        keys: Its file's key, or the keys of its frames.
    """

    def __init__(self, store: Store, name: str, keys: Sequence[str]) -> None:
        self.name = name
        self._store = store
        self._keys = tuple(keys)

    def fingerprint(self) -> str:
        lines = (f"{key} {self._store.fingerprint(key)}" for key in self._keys)
        return bytes_digest("\n".join(lines).encode())

    @contextmanager
    def open(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fedvsr-video-") as temporary:
            folder = Path(temporary)
            for key in self._keys:
                self._store.download(key, folder / PurePosixPath(key).name)
            is_file = PurePosixPath(self._keys[0]).suffix.lower() in VIDEO_SUFFIXES
            yield folder / PurePosixPath(self._keys[0]).name if is_file else folder


def local_sources(root: Path, pattern: str = "") -> list[LocalSource]:
    """Finds the videos below a folder, in natural order.

    A video is called by its path below the folder without the suffix, or with it where two would be
    called the same.

    Args:
        root: A video, or a folder of videos or of frame folders.
        pattern: Take only what matches.

    Raises:
        fedvsr.errors.VideoError: There is none.
    """
    paths = list_videos(root, pattern or None)
    return [
        LocalSource(name, path)
        for name, path in zip(_names([_below(path, root) for path in paths]), paths, strict=True)
    ]


def stored_sources(store: Store, folder: str) -> list[StoredSource]:
    """Finds the videos below a folder of a store, in natural order; there may be none."""
    groups: dict[PurePosixPath, list[str]] = {}
    for key in store.keys(folder):
        path = PurePosixPath(key).relative_to(folder)
        suffix = path.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            groups[path] = [key]
        elif suffix in IMAGE_SUFFIXES:
            groups.setdefault(path.parent, []).append(key)
    ordered = sorted(groups, key=lambda path: natural_key(path.as_posix()))
    return [
        StoredSource(store, name, groups[path]) for name, path in zip(_names(ordered), ordered, strict=True)
    ]


def _below(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.name if path == root else path.relative_to(root).as_posix())


def _names(paths: Sequence[PurePosixPath]) -> list[str]:
    short = [(path.with_suffix("") if _is_file(path) else path).as_posix() for path in paths]
    return [
        path.as_posix() if short.count(name) > 1 else name for name, path in zip(short, paths, strict=True)
    ]


def _is_file(path: PurePosixPath) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES
