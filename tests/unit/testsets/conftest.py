"""Tiny test sets on disk."""

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def write_frames() -> Callable[..., np.ndarray]:
    """Writes a folder of PNG frames: an array, or a number of noise frames, seeded by the folder's name."""

    def write(
        folder: Path, frames: np.ndarray | int = 3, names: Iterable[str] | None = None, scale: int = 1
    ) -> np.ndarray:
        if isinstance(frames, int):
            random = np.random.default_rng(sum(folder.name.encode()))
            shape = (frames, HEIGHT // scale, WIDTH // scale, 3)
            frames = random.integers(60, 190, shape, dtype=np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in zip(names or (f"{n:08d}" for n in range(len(frames))), frames, strict=True):
            assert cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return frames

    return write
