"""Files and folders that appear under their name only when they are complete and on the disk."""

import os
import shutil
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Returns the hidden name beside ``path`` under which it is written."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def discard(path: Path) -> None:
    """Deletes a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Moves a complete file or folder to its name, after its bytes are on the disk.

    A file at ``path`` is replaced, a folder only if it is empty.
    """
    _synchronise(partial)
    partial.replace(path)
    _synchronise(path.parent)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
