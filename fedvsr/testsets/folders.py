"""A test set's clips on disk, in the layouts of its published copies."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.testsets.base import ClipFolders, VideoTestSet
from fedvsr.video.decode import IMAGE_SUFFIXES, natural_key

# In PFNL's copies, a clip's own folder holds its ground truth and its low resolution, which is `bd`.
_INNER_TRUTH = "truth"
_INNER_LOW = {"bd": "blur{scale}"}

_MAX_NAMES = 8
"""How many names an error lists."""


def locate_clips(test_set: VideoTestSet, root: Path, degradation: str, scale: int) -> list[ClipFolders]:
    """Returns the folders of a test set's clips, in the order of its table.

    The ground truth is in the root itself or in the first of the test set's ``truth_folders`` that has all
    clips. A clip's frames are in its folder or in ``truth`` inside. The low resolution is in the first of
    the ``low_folders`` that exists; if none does, it is made from the ground truth.

    Args:
        test_set: The test set.
        root: Its folder.
        degradation: The degradation of the low resolution.
        scale: Its scale.

    Raises:
        fedvsr.errors.VideoError: The root is no folder, or clips are missing.
    """
    if not root.is_dir():
        raise VideoError(f"{root}: no such folder; --root is the folder of {test_set.title}")
    names = test_set.clip_names(root)
    base, truths = _select_truth(test_set, root, names)
    low = _find_low(test_set, root, base, degradation, scale)
    lows = _clips_inside(low, truths, test_set) if low else _lows_beside(truths, degradation, scale)
    return [ClipFolders(name, path, lows.get(name)) for name, path in truths.items()]


def _select_truth(test_set: VideoTestSet, root: Path, names: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    """Returns the folder with the ground truth of all clips, and each clip's own folder."""
    incomplete: tuple[Path, dict[str, Path]] | None = None
    for base in [root, *(root / folder for folder in test_set.truth_folders)]:
        truths = _truths(base, names or _folders(base))
        if truths and len(truths) >= len(names):
            return base, truths
        if truths and (incomplete is None or len(truths) > len(incomplete[1])):
            incomplete = base, truths
    if incomplete:
        base, truths = incomplete
        missing_names = [name for name in names if name not in truths]
        raise VideoError(
            f"{base}: expected the clips of {test_set.title}, each a folder of images; found "
            f"{_list(truths)}, missing: {_list(missing_names)}"
        )
    clips = f"the clips {_list(names)} of" if names else "the clips of"
    raise VideoError(
        f"{root}: expected {clips} {test_set.title}, each a folder of images, in this folder or in "
        f"{', '.join(test_set.truth_folders)}; found {_list(path.name for path in root.iterdir())}"
    )


def _truths(base: Path, names: Iterable[str]) -> dict[str, Path]:
    """Returns the folders of those clips whose ground truth is in a folder."""
    truths = {}
    for name in names:
        for path in (base / name, base / name / _INNER_TRUTH):
            if _has_images(path):
                truths[name] = path
                break
    return truths


def _clips_inside(low: Path, names: Iterable[str], test_set: VideoTestSet) -> dict[str, Path]:
    """Returns the clips' folders inside the folder of ready-made low resolution, which must have them all."""
    lows = {name: low / name for name in names}
    missing_names = [name for name, path in lows.items() if not _has_images(path)]
    if missing_names:
        raise VideoError(
            f"{low}: expected the low resolution of all clips of {test_set.title} as folders of images; "
            f"missing: {_list(missing_names)}. Complete it; or give --root the ground truth's folder alone, "
            "and fedvsr makes the low resolution"
        )
    return lows


def _lows_beside(truths: dict[str, Path], degradation: str, scale: int) -> dict[str, Path]:
    """Returns the folders of low resolution that lie beside ``truth`` in a clip's own folder."""
    folder = _INNER_LOW.get(degradation, "").format(scale=scale)
    return {
        name: path.with_name(folder)
        for name, path in truths.items()
        if folder and path.name == _INNER_TRUTH and _has_images(path.with_name(folder))
    }


def _find_low(test_set: VideoTestSet, root: Path, truth: Path, degradation: str, scale: int) -> Path | None:
    # A root that is the ground truth's own folder means: make the low resolution.
    parents = [] if truth == root else [root, truth.parent]
    for kind, folder in test_set.low_folders:
        for parent in parents:
            path = parent / folder.format(scale=scale)
            if kind == degradation and path.is_dir():
                return path
    return None


def _folders(base: Path) -> list[str]:
    if not base.is_dir():
        return []
    names = (path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(names, key=natural_key)


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") for path in folder.iterdir()
    )


def _list(names: Iterable[str]) -> str:
    ordered = sorted(names, key=natural_key)
    more = f" and {len(ordered) - _MAX_NAMES} more" if len(ordered) > _MAX_NAMES else ""
    return ", ".join(ordered[:_MAX_NAMES]) + more if ordered else "nothing"
