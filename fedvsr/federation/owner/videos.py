"""The videos that owners turn into shards, on this machine or in a store."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedvsr.errors import VideoError
from fedvsr.federation.owner.fingerprint_cache import FingerprintCache, recent_digest
from fedvsr.federation.owner.names import is_video_file, name_videos
from fedvsr.store.base import Store, bytes_digest, file_digest
from fedvsr.video.listing import IMAGE_SUFFIXES, list_videos, natural_key


class Video(ABC):
    """A video: one file, or a folder of frames.

    Attributes:
        name: The video's name, from which its clips get theirs; unique among an owner's videos.
        first_frame: The first frame that is the owner's, counted from 0.
        stop_frame: The frame after the owner's last one; None for the video's end.
    """

    name: str
    first_frame: int = 0
    stop_frame: int | None = None

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns a string that changes if the video's bytes change.

        Raises:
            fedvsr.errors.VideoError: The video's bytes cannot be read.
            fedvsr.errors.StoreError: The store failed.
        """

    @abstractmethod
    def as_local_path(self) -> AbstractContextManager[Path]:
        """Returns a context manager that yields a local path of the video."""


class LocalVideo(Video):
    """A video on this machine.

    Args:
        name: The video's name.
        path: Its file, or its folder of frames.
        fingerprints: Remembers the digests of files; None reads them every time.
    """

    def __init__(self, name: str, path: Path, fingerprints: FingerprintCache | None = None) -> None:
        self.name = name
        self.path = path
        self._digest = fingerprints.digest if fingerprints else file_digest

    def fingerprint(self) -> str:
        try:
            if self.path.is_file():
                return self._digest(self.path)
            files = sorted(path for path in self.path.iterdir() if path.is_file())
            lines = (f"{path.name} {self._digest(path)}" for path in files)
            return bytes_digest("\n".join(lines).encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise VideoError(f"it cannot be read ({error.strerror})") from error

    def as_local_path(self) -> AbstractContextManager[Path]:
        return nullcontext(self.path)


class PartOfVideo(LocalVideo):
    """Consecutive frames of a video on this machine.

    Args:
        video: The whole video.
        first_frame: The first frame.
        stop_frame: The frame after the last one; None for the video's end.
    """

    def __init__(self, video: LocalVideo, first_frame: int, stop_frame: int | None) -> None:
        super().__init__(video.name, video.path)
        # Many clients may have parts of one file.
        self._digest = recent_digest
        self.first_frame = first_frame
        self.stop_frame = stop_frame

    def fingerprint(self) -> str:
        return _describe_part(super().fingerprint(), self)


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

    def part(self, first_frame: int, stop_frame: int | None) -> "StoredVideo":
        """Returns consecutive frames of the video; ``stop_frame`` None stands for its end."""
        part = StoredVideo(self._store, self.name, self._keys)
        part.first_frame, part.stop_frame = first_frame, stop_frame
        return part

    def fingerprint(self) -> str:
        for key in self._keys:
            if "//" in key:
                raise VideoError(f"its key {key!r} has an empty part; store it under another key")
        try:
            lines = [f"{key} {self._store.fingerprint(key)}" for key in self._keys]
        except OSError as error:
            raise VideoError(f"it cannot be read ({error.strerror})") from error
        digest = bytes_digest("\n".join(lines).encode("utf-8", "surrogateescape"))
        is_whole = self.first_frame == 0 and self.stop_frame is None
        return digest if is_whole else _describe_part(digest, self)

    @contextmanager
    def as_local_path(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fedvsr-video-") as temporary:
            folder = Path(temporary)
            for key in self._keys:
                self._store.download(key, folder / PurePosixPath(key).name)
            first_key = PurePosixPath(self._keys[0])
            yield folder / first_key.name if is_video_file(first_key) else folder


@dataclass(frozen=True)
class FederationVideos:
    """A federation's videos on this machine.

    Attributes:
        clients: Each client's videos, by the client's name.
        held_out: The held-out videos.
    """

    clients: Mapping[str, Sequence[LocalVideo]]
    held_out: Sequence[LocalVideo]


def local_videos(
    root: Path, pattern: str = "", fingerprints: FingerprintCache | None = None
) -> list[LocalVideo]:
    """Returns the video at a path or, if the path is a folder, all videos in it, in natural order.

    A video's name is that of `fedvsr.federation.owner.names.name_videos`.

    Args:
        root: A video, or a folder of video files or frame folders, at any depth.
        pattern: A glob as in `fedvsr.video.listing.list_videos`. An empty string accepts every video.
        fingerprints: Remembers the digests of files; None reads them every time.

    Raises:
        fedvsr.errors.VideoError: The path holds no video.
    """
    paths = list_videos(root, pattern or None)
    names = name_videos([_relative(path, root) for path in paths])
    return [LocalVideo(name, path, fingerprints) for name, path in zip(names, paths, strict=True)]


def stored_videos(store: Store, folder: str, pattern: str = "") -> list[StoredVideo]:
    """Returns the videos in a folder of a store, at any depth, in natural order. The list may be empty.

    Names are as in `local_videos`. Keys with a part that begins with a dot are skipped, as hidden files are.

    Args:
        store: The owner's store.
        folder: A key prefix that ends with a slash, such as `fedvsr.federation.layout.RAW_VIDEOS`.
        pattern: A glob that a video's path in the folder must match, as in `local_videos`. An empty string
            accepts every video.

    Raises:
        fedvsr.errors.StoreError: The store failed.
    """
    groups: dict[str, list[str]] = {}
    folders_with_files: set[str] = set()
    for key in store.keys(folder):
        relative_key = key.removeprefix(folder)
        path = PurePosixPath(relative_key)
        # S3 programs mark an empty folder by a key that ends with a slash.
        if relative_key.endswith("/") or any(part.startswith(".") for part in path.parts):
            continue
        parent = relative_key.rpartition("/")[0]
        if is_video_file(path):
            groups[relative_key] = [key]
            folders_with_files.add(parent)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            groups.setdefault(parent, []).append(key)
    # Images next to a video file are posters, as in `list_videos`.
    paths = sorted(
        (
            path
            for path in groups.keys() - folders_with_files
            if not pattern or PurePosixPath(path).match(pattern)
        ),
        key=lambda path: natural_key(PurePosixPath(path).as_posix()),
    )
    names = name_videos([PurePosixPath(path) for path in paths])
    return [StoredVideo(store, name, groups[path]) for name, path in zip(names, paths, strict=True)]


def _describe_part(fingerprint: str, part: Video) -> str:
    stop = "end" if part.stop_frame is None else part.stop_frame
    return f"{fingerprint} frames {part.first_frame} to {stop}"


def _relative(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.name if path == root else path.relative_to(root).as_posix())
