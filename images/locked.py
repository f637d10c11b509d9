"""Prints the lock file's entries, with hashes, for the packages of an image. All images share one lock file.

    locked.py LOCK PACKAGES all|torch|rest

PACKAGES lists one name per line (`make lock` writes it). `torch` selects PyTorch and its CUDA libraries,
which have their own image layer; `rest` selects the others.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_TORCH = re.compile(r"(torch|torchvision|triton|(nvidia|cuda)-.*)$")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def entries(lock: str) -> Iterator[tuple[str, str]]:
    """Yields the name and the text of each entry. A name with several markers has several entries."""
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        name = _NAME.match(entry)
        if name:
            yield name.group(), entry.rstrip() + "\n"


def select(lock: str, packages: set[str], part: str) -> str:
    """Returns the entries of a lock file for one part of an image's packages."""
    parts = {"all": (True, False), "torch": (True,), "rest": (False,)}
    torch_values = parts[part]
    missing = packages - {name for name, _ in entries(lock)}
    if missing:
        raise SystemExit(f"not in the lock file: {', '.join(sorted(missing))}; run `make lock`")
    return "".join(
        text for name, text in entries(lock) if name in packages and bool(_TORCH.match(name)) in torch_values
    )


if __name__ == "__main__":
    _, lock_file, packages_file, selected_part = sys.argv
    names = set(Path(packages_file).read_text().split())
    sys.stdout.write(select(Path(lock_file).read_text(), names, selected_part))
