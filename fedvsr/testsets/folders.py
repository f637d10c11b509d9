"""Finds a test set's clips on disk, in the layouts of its published copies."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.testsets.base import ClipFolders, VideoTestSet
from fedvsr.video.listing import IMAGE_SUFFIXES, natural_key

# In PFNL's copies, each clip's folder holds its ground truth and its low-resolution frames, made by `bd`.
_INNER_TRUTH = "truth"
_INNER_LOW = {"bd": "blur{scale}"}

_MAX_NAMES = 8
"""Number of names that an error lists."""


def locate_clips(test_set: VideoTestSet, root: Path, degradation: str, scale: int) -> list[ClipFolders]:
    """Returns the folders of a test set's clips, in the order of its table.

    The ground truth is in the root itself or in the first of the test set's ``truth_folders`` that has all
    clips. A clip's frames are in its folder, or in ``truth`` in that folder. The low-resolution frames are
    in the first of the ``low_folders`` that exists; if none does, they are made from the ground truth.

    Args:
        test_set: The test set.
        root: The test set's folder.
        degradation: The degradation of the low-resolution frames.
        scale: Their scale.

    Raises:
        fedvsr.errors.VideoError: The root is not a folder, or clips are missing.
    """
    if not root.is_dir():
        raise VideoError(f"{root}: no such folder; --root is the folder of {test_set.title}")
    names = test_set.clip_names(root)
    base, ground_truths = _select_ground_truth(test_set, root, names)
    low_folder = _find_low_resolution_folder(test_set, root, base, degradation, scale)
    if low_folder:
        low_resolutions = _require_low_resolutions(low_folder, ground_truths, test_set)
    else:
        low_resolutions = _find_low_resolution_siblings(ground_truths, degradation, scale)
    return [ClipFolders(name, path, low_resolutions.get(name)) for name, path in ground_truths.items()]


def _select_ground_truth(
    test_set: VideoTestSet, root: Path, names: Sequence[str]
) -> tuple[Path, dict[str, Path]]:
    """Returns the folder that has the ground truth of all clips, and each clip's ground-truth folder."""
    incomplete: tuple[Path, dict[str, Path]] | None = None
    for base in [root, *(root / folder for folder in test_set.truth_folders)]:
        ground_truths = _list_ground_truths(base, names or _list_folders(base))
        if ground_truths and len(ground_truths) >= len(names):
            return base, ground_truths
        if ground_truths and (incomplete is None or len(ground_truths) > len(incomplete[1])):
            incomplete = base, ground_truths
    if incomplete:
        base, ground_truths = incomplete
        missing_names = [name for name in names if name not in ground_truths]
        raise VideoError(
            f"{base}: expected the clips of {test_set.title}, each a folder of images; found "
            f"{_join_names(ground_truths)}, missing: {_join_names(missing_names)}"
        )
    clips = f"the clips {_join_names(names)} of" if names else "the clips of"
    raise VideoError(
        f"{root}: expected {clips} {test_set.title}, each a folder of images, in this folder or in "
        f"{', '.join(test_set.truth_folders)}; found {_join_names(path.name for path in root.iterdir())}"
    )


def _list_ground_truths(base: Path, names: Iterable[str]) -> dict[str, Path]:
    """Returns the ground-truth folder of each clip that has one in ``base``."""
    ground_truths = {}
    for name in names:
        for path in (base / name, base / name / _INNER_TRUTH):
            if _has_images(path):
                ground_truths[name] = path
                break
    return ground_truths


def _require_low_resolutions(folder: Path, names: Iterable[str], test_set: VideoTestSet) -> dict[str, Path]:
    """Returns each clip's folder in a folder of ready-made low-resolution frames.

    Raises:
        fedvsr.errors.VideoError: A clip is missing.
    """
    low_resolutions = {name: folder / name for name in names}
    missing_names = [name for name, path in low_resolutions.items() if not _has_images(path)]
    if missing_names:
        raise VideoError(
            f"{folder}: expected the low-resolution frames of all clips of {test_set.title} as folders of "
            f"images; missing: {_join_names(missing_names)}. Complete it; or give --root the ground truth's "
            "folder alone, and fedvsr makes the low-resolution frames"
        )
    return low_resolutions


def _find_low_resolution_siblings(
    ground_truths: dict[str, Path], degradation: str, scale: int
) -> dict[str, Path]:
    """Returns the low-resolution folders next to the ground-truth folder ``truth`` in a clip's folder."""
    folder = _INNER_LOW.get(degradation, "").format(scale=scale)
    return {
        name: path.with_name(folder)
        for name, path in ground_truths.items()
        if folder and path.name == _INNER_TRUTH and _has_images(path.with_name(folder))
    }


def _find_low_resolution_folder(
    test_set: VideoTestSet, root: Path, base: Path, degradation: str, scale: int
) -> Path | None:
    """Returns the folder of the clips' ready-made low-resolution frames, or None if there is none."""
    # If the root itself holds the ground truth, the user wants the low-resolution frames to be made.
    parents = [] if base == root else [root, base.parent]
    for kind, folder in test_set.low_folders:
        for parent in parents:
            path = parent / folder.format(scale=scale)
            if kind == degradation and path.is_dir():
                return path
    return None


def _list_folders(base: Path) -> list[str]:
    if not base.is_dir():
        return []
    names = (path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(names, key=natural_key)


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") for path in folder.iterdir()
    )


def _join_names(names: Iterable[str]) -> str:
    ordered = sorted(names, key=natural_key)
    more = f" and {len(ordered) - _MAX_NAMES} more" if len(ordered) > _MAX_NAMES else ""
    return ", ".join(ordered[:_MAX_NAMES]) + more if ordered else "nothing"
