"""Finding a test set's clips in the layouts that people have it in."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.testsets.base import ClipFolders, VideoTestSet
from fedvsr.video.decode import IMAGE_SUFFIXES, natural_key

# PFNL's copies have a clip's ground truth and its low resolution, which is `bd`, in the clip's own folder.
_INNER_TRUTH = "truth"
_INNER_LOW = {"bd": "blur{scale}"}

_NAMED = 8
"""How many names an error lists."""


def locate_clips(test_set: VideoTestSet, root: Path, degradation: str, scale: int) -> list[ClipFolders]:
    """Finds a test set's clips, in the order of its table.

    The clips' ground truth is in the root itself or in the first of the test set's ``truth_folders`` that has
    it all, a clip's frames in its folder or in ``truth`` inside. Their low resolution is in the first of the
    ``low_folders`` that is there, or is made from the ground truth.

    Args:
        test_set: The test set.
        root: Where it is.
        degradation: The degradation of the low resolution that is looked for.
        scale: Its scale.

    Raises:
        fedvsr.errors.VideoError: The root is no folder, or clips are missing.
    """
    if not root.is_dir():
        raise VideoError(f"{root}: there is no such folder; --root is where {test_set.title} is")
    names = test_set.clip_names(root)
    base, truths = _find_truth(test_set, root, names)
    low = _find_low(test_set, root, base, degradation, scale)
    if low is None:
        inner = _INNER_LOW.get(degradation, "").format(scale=scale)
        lows = {
            name: path.with_name(inner)
            for name, path in truths.items()
            if inner and path.name == _INNER_TRUTH and _has_images(path.with_name(inner))
        }
    else:
        lows = {name: low / name for name in truths}
        missing = [name for name, path in lows.items() if not _has_images(path)]
        if missing:
            raise VideoError(
                f"{low}: expected the low resolution of all clips of {test_set.title} as folders of images; "
                f"missing: {_list(missing)}. Complete it, or give --root the ground truth's folder alone and "
                "it is made"
            )
    return [ClipFolders(name, path, lows.get(name)) for name, path in truths.items()]


def _find_truth(test_set: VideoTestSet, root: Path, names: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    candidates = [root, *(root / folder for folder in test_set.truth_folders)]
    incomplete: tuple[Path, dict[str, Path]] | None = None
    for base in candidates:
        found = _truths(base, names or _folders(base))
        if found and len(found) >= len(names):
            return base, found
        if found and (incomplete is None or len(found) > len(incomplete[1])):
            incomplete = base, found
    if incomplete:
        base, found = incomplete
        missing = [name for name in names if name not in found]
        raise VideoError(
            f"{base}: expected the clips of {test_set.title}, each a folder of images; found "
            f"{_list(found)}, missing: {_list(missing)}"
        )
    wanted = f"the clips {_list(names)} of" if names else "the clips of"
    raise VideoError(
        f"{root}: expected {wanted} {test_set.title}, each a folder of images, there or below "
        f"{', '.join(test_set.truth_folders)}; found {_list(path.name for path in root.iterdir())}"
    )


def _truths(base: Path, names: Iterable[str]) -> dict[str, Path]:
    found = {}
    for name in names:
        for path in (base / name, base / name / _INNER_TRUTH):
            if _has_images(path):
                found[name] = path
                break
    return found


def _find_low(test_set: VideoTestSet, root: Path, truth: Path, degradation: str, scale: int) -> Path | None:
    # Who gives the ground truth's folder alone wants the low resolution made.
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
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(islice(ordered, _NAMED)) + more if ordered else "nothing"
