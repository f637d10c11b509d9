"""Prints what of the lock file an image installs, hashes included: the one lock is for all of them.

    locked.py LOCK PACKAGES all|torch|rest

PACKAGES lists names, one a line (`make lock` writes it). `torch` are PyTorch and what its CUDA build
brings, which make a layer of their own; `rest` are the others.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_TORCH = re.compile(r"(torch|torchvision|triton|(nvidia|cuda)-.*)$")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def entries(lock: str) -> Iterator[tuple[str, str]]:
    """Yields the name and the lines of each entry of a lock file; a name may have several, by marker."""
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        name = _NAME.match(entry)
        if name:
            yield name.group(), entry.rstrip() + "\n"


def select(lock: str, packages: set[str], part: str) -> str:
    """Returns the entries of a lock file that belong to a part of an image."""
    parts = {"all": (True, False), "torch": (True,), "rest": (False,)}
    wanted = parts[part]
    found = dict.fromkeys(name for name, _ in entries(lock))
    missing = packages - found.keys()
    if missing:
        raise SystemExit(f"not in the lock file: {', '.join(sorted(missing))}; run `make lock`")
    return "".join(
        text for name, text in entries(lock) if name in packages and bool(_TORCH.match(name)) in wanted
    )


if __name__ == "__main__":
    _, lock_file, packages_file, chosen = sys.argv
    names = set(Path(packages_file).read_text().split())
    sys.stdout.write(select(Path(lock_file).read_text(), names, chosen))
