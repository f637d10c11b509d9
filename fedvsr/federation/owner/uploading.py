"""Putting videos where the shard step looks for them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.video.decode import IMAGE_SUFFIXES, list_videos


def upload_videos(
    store: Store, folder: str, paths: Sequence[Path], progress: Progress | None = None
) -> list[str]:
    """Copies videos into a folder of a store, replacing those of the same name.

    Args:
        store: Their owner's store.
        folder: `fedvsr.federation.layout.RAW_VIDEOS` or ``EVALUATION_VIDEOS``.
        paths: Videos, folders of frames, and folders of either; what lies below a folder keeps its path
            below that folder as its name.
        progress: Shows the files.

    Returns:
        The keys of all of them.

    Raises:
        fedvsr.errors.VideoError: A path holds no video, or two would have the same name.
        fedvsr.errors.StoreError: The store refused or failed; uploading again mends it.
    """
    files: dict[str, Path] = {}
    for path in paths:
        for name, file in _files(path):
            other = files.setdefault(folder + name, file)
            if other.resolve() != file.resolve():
                raise VideoError(f"{other} and {file} would both be called {name!r}; rename one")
    with (progress or Progress()).stage("upload", len(files)) as advance:
        for done, (key, file) in enumerate(files.items(), start=1):
            store.upload(key, file)
            advance(done, file.name)
    return list(files)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    for video in list_videos(path):
        if video.is_file():
            yield (video.name if video == path else video.relative_to(path).as_posix()), video
            continue
        # A folder of frames that is given itself keeps its own name.
        root = path.parent if video == path else path
        for file in sorted(video.iterdir()):
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."):
                yield file.relative_to(root).as_posix(), file
