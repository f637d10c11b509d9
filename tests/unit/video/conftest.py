"""Fixtures of the tests of `fedvsr.video`."""

import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def noise(random) -> np.ndarray:
    """A clip of five random frames, uint8 (5, 24, 32, 3)."""
    return random.integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def save_images():
    """Writes RGB frames as images, named as in REDS or by a list of names, and returns their folder."""

    def save(folder: Path, frames, names=None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(frames):
            name = names[index] if names else f"{index:08d}.png"
            assert cv2.imwrite(str(folder / name), frame[..., ::-1])
        return folder

    return save


@pytest.fixture(scope="session")
def ffmpeg():
    """Runs FFmpeg's program, which makes inputs and is the oracle of conversions; returns its output."""

    def run(*arguments, data=None) -> bytes:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
        process = subprocess.run(command, input=data, capture_output=True)
        assert process.returncode == 0, process.stderr.decode()
        return process.stdout

    return run
