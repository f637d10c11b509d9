"""Uploads videos to the folder from which the shard step reads them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.federation.owner.names import valid_text
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.text import printable
from fedvsr.video.listing import IMAGE_SUFFIXES, list_videos


def upload_videos(
    store: Store, folder: str, paths: Sequence[Path], progress: Progress | None = None
) -> list[str]:
    """Copies videos to a folder of a store. A file with the same key is replaced.

    Args:
        store: The owner's store.
        folder: `fedvsr.federation.layout.RAW_VIDEOS`, ``HELD_OUT_VIDEOS`` or ``TRAINING_VIDEOS``.
        paths: Video files, folders of frames, and folders of either. A video in a folder keeps
            its path relative to that folder.
        progress: Reports progress per file.

    Returns:
        The keys of all uploaded files.

    Raises:
        fedvsr.errors.VideoError: A path holds no video, or two files would have the same key; nothing
            was uploaded.
        fedvsr.errors.StoreError: The store refused or failed; upload again to continue.
    """
    files: dict[str, Path] = {}
    for path in paths:
        for file_name, file in _files(path):
            name = valid_text(file_name)
            earlier_file = files.setdefault(folder + name, file)
            if earlier_file.resolve() != file.resolve():
                raise VideoError(f"{earlier_file} and {file} would both be called {name!r}; rename one")
    with (progress or Progress()).stage("upload", len(files)) as advance:
        for done, (key, file) in enumerate(files.items(), start=1):
            store.upload(key, file)
            advance(done, printable(file.name))
    return list(files)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yields the name in the store and the path of each file of each video at a path."""
    for video in list_videos(path):
        if video.is_file():
            yield (video.name if video == path else video.relative_to(path).as_posix()), video
            continue
        # If the path is itself a folder of frames, the folder's name is part of the keys.
        root = path.parent if video == path else path
        for file in sorted(video.iterdir()):
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."):
                yield file.relative_to(root).as_posix(), file
