"""VMAF: how good a video looks, according to Netflix's model of viewers' ratings.

Computed by ffmpeg's filter libvmaf with its default model, vmaf_v0.6.1, for a television that is watched
from three screen heights away. The model uses luma alone: `fedvsr.metrics.color.rgb_to_y`, rounded.

Source: Li et al., "Toward A Practical Perceptual Video Quality Metric", Netflix Technology Blog 2016,
https://netflixtechblog.com/toward-a-practical-perceptual-video-quality-metric-653f208b9652.
"""

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import InputError
from fedvsr.metrics.color import rgb_to_y
from fedvsr.metrics.frames import check_frames

_MIN_SIDE = 32
"""In pixels. libvmaf crashes on frames of 16 pixels, and gives meaningless scores on slightly larger ones."""

_LOG = "vmaf.json"
_NEUTRAL_CHROMA = b"\x80"
"""The chroma of a grey pixel."""

_REMEDY = (
    "put one on PATH, for example a static build from https://johnvansickle.com/ffmpeg or "
    "https://github.com/BtbN/FFmpeg-Builds (Debian's own is built without libvmaf)"
)


def require_ffmpeg() -> str:
    """Returns the path of an ffmpeg that has libvmaf.

    Raises:
        fedvsr.errors.InputError: No such ffmpeg is on PATH.
    """
    path = shutil.which("ffmpeg")
    if path is None:
        raise InputError(f"VMAF needs an ffmpeg with libvmaf, and there is no ffmpeg: {_REMEDY}")
    filters = subprocess.run(  # noqa: S603 -- the user's own ffmpeg, fixed arguments
        [path, "-hide_banner", "-filters"], capture_output=True, text=True, check=False
    )
    if not any(line.split()[1:2] == ["libvmaf"] for line in filters.stdout.splitlines()):
        raise InputError(f"VMAF needs an ffmpeg with libvmaf, and {path} has none: {_REMEDY}")
    return path


class Vmaf:
    """Measures the VMAF of upscaled frames against the ground truth, frame by frame as they are produced.

    A context manager: inside ``with``, call `add` for each frame, then `finish` once. Each upscaled frame is
    stacked on its ground truth and written to ffmpeg's pipe. No frame is kept.

    Args:
        height: The frames' height in pixels, at least 32.
        width: The frames' width in pixels, at least 32.

    Raises:
        fedvsr.errors.InputError: The frames are too small or, on entering, no ffmpeg with libvmaf is on PATH.

    Attributes:
        frame_count: Number of frames so far.
    """

    def __init__(self, height: int, width: int) -> None:
        if min(height, width) < _MIN_SIDE:
            raise InputError(
                f"frames of {width}×{height} pixels are too small: VMAF needs {_MIN_SIDE}×{_MIN_SIDE}"
            )
        self.height = height
        self.width = width
        self.frame_count = 0
        self._chroma = _NEUTRAL_CHROMA * (2 * 2 * height * width)

    def __enter__(self) -> Self:
        ffmpeg = require_ffmpeg()
        self._folder = tempfile.TemporaryDirectory(prefix="fedvsr-vmaf-")
        # A file, because a pipe that nobody reads would fill up and block ffmpeg.
        self._errors: IO[bytes] = (Path(self._folder.name) / "errors.txt").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 -- the user's own ffmpeg, arguments of our own
            [ffmpeg, *_arguments(self.height, self.width)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            cwd=self._folder.name,
        )
        return self

    def add(self, output: NDArray[np.uint8], ground_truth: NDArray[np.uint8]) -> None:
        """Sends the next frame of both videos, (H, W, 3) uint8 RGB, to ffmpeg.

        Raises:
            fedvsr.errors.InputError: The frames cannot be compared, or ffmpeg failed.
        """
        check_frames(output[None], ground_truth[None], crop_border=0, minimum=_MIN_SIDE)
        luma = np.rint(rgb_to_y(np.concatenate((output, ground_truth)))).astype(np.uint8)
        assert luma.shape == (2 * self.height, self.width)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(luma.tobytes() + self._chroma)
        except BrokenPipeError:
            self._fail()
        self.frame_count += 1

    def finish(self) -> NDArray[np.float64]:
        """Waits for ffmpeg to end, and returns every frame's VMAF.

        Returns:
            (T,) float64, from 0 to 100. A frame that is the same in both videos scores 97 to 100.

        Raises:
            fedvsr.errors.InputError: ffmpeg failed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            self._fail()
        if self._process.wait():
            self._fail()
        return parse_log((Path(self._folder.name) / _LOG).read_text(), self.frame_count)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._errors.close()
        self._folder.cleanup()

    def _fail(self) -> NoReturn:
        self._process.wait()
        lines = Path(self._errors.name).read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {self._process.returncode}"
        raise InputError(f"ffmpeg could not measure VMAF after {self.frame_count} frames: {reason}")


def parse_log(text: str, frame_count: int) -> NDArray[np.float64]:
    """Returns every frame's VMAF from libvmaf's JSON log.

    Args:
        text: The log.
        frame_count: Number of frames that it must have.

    Returns:
        (T,) float64, from 0 to 100.

    Raises:
        fedvsr.errors.InputError: The log has an unexpected form or number of frames.
    """
    try:
        scores = [float(frame["metrics"]["vmaf"]) for frame in json.loads(text)["frames"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"libvmaf's log has an unknown form ({error!r}); use libvmaf 2 or 3") from error
    if len(scores) != frame_count:
        raise InputError(
            f"libvmaf measured {len(scores)} frames of {frame_count}; check whether the disk is full"
        )
    return np.array(scores)


def _arguments(height: int, width: int) -> list[str]:
    # Each picture has the output in its upper half and the ground truth in its lower half. 4:4:4, so that
    # any height can be cut in two. libvmaf takes the distorted video, the output, first.
    graph = (
        f"split[a][b];[a]crop={width}:{height}:0:0[output];[b]crop={width}:{height}:0:{height}[truth];"
        f"[output][truth]libvmaf=log_fmt=json:log_path={_LOG}:n_threads={os.cpu_count() or 1}"
    )
    source = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-video_size", f"{width}x{2 * height}", "-i", "pipe:0"]
    return ["-nostdin", "-hide_banner", "-loglevel", "error", *source, "-lavfi", graph, "-f", "null", "-"]
