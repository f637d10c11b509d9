"""A run that trains in a second, and helpers to run commands and to write and read videos."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fedvsr.cli.main import main
from fedvsr.store.workspace import Workspace

RUN = "tiny"


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class FinishedRun:
    """A run that `fedvsr run` has finished.

    Attributes:
        store: The folder of the option --store.
        config: The YAML file.
        output: What the command printed.
    """

    store: Path
    config: Path
    output: Output

    @property
    def workspace(self) -> Workspace:
        return Workspace.under(str(self.store))

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.store / 'mlflow.db'}"

    def weights(self, round_number: int) -> bytes:
        return (
            self.store / f"federation/runs/{RUN}/rounds/{round_number:04d}/global.safetensors"
        ).read_bytes()


def run_command(*arguments: object) -> Output:
    """Runs `fedvsr` with arguments in this process."""
    out, err, original_argv = io.StringIO(), io.StringIO(), sys.argv
    code: object = 0
    sys.argv = ["fedvsr", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as error:
        code = error.code
    finally:
        sys.argv = original_argv
    assert isinstance(code, int | None)
    return Output(code or 0, out.getvalue(), err.getvalue())


def write_video(
    path: Path, seed: int = 0, frames: int = 10, size: tuple[int, int] = (48, 48), fps: float = 30
) -> np.ndarray:
    """Writes a moving pattern, without loss if the suffix is .avi.

    Args:
        path: The file to write.
        seed: Chooses the pattern.
        frames: The number of frames, T.
        size: Height and width in pixels, H and W.
        fps: Frames per second.

    Returns:
        The frames, uint8 (T, H, W, 3), RGB.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    waves = random.uniform(0.2, 1.2, (3, 2))
    rows, columns = np.mgrid[: size[0], : size[1]]
    clip = np.stack(
        [
            np.stack([127.5 + 127.5 * np.sin(u * (rows + time) + v * (columns - time)) for u, v in waves], -1)
            for time in range(frames)
        ]
    )
    pixels = np.uint8(np.rint(clip))
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), fps, (size[1], size[0])
    )
    assert writer.isOpened()
    for frame in pixels:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return pixels


def read_video(path: Path) -> tuple[np.ndarray, float]:
    """Decodes a video with OpenCV alone, so that a test does not depend on `fedvsr.video`.

    Returns:
        The frames, uint8 (T, H, W, 3), RGB, and the number of frames per second.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.isOpened(), path
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while True:
        decodable, frame = capture.read()
        if not decodable:
            capture.release()
            return np.stack(frames), fps
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
