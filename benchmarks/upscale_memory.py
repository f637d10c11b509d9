"""Measures the peak memory of `fedvsr upscale` with its defaults, for several sizes and lengths of video.

A FastVSR model at scale 4 upscales moving test pictures on the CPU. The command runs as a user runs it, in a
process of its own. The peak is the largest resident memory of that process, encoder included. Without
arguments, all cases run, which takes minutes: an upscaled 4K frame has 133 million pixels. Arguments choose
cases by their names.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import torch
from torch import nn

from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.trained import save_converted

SCALE = 4

# Linux counts in KiB, macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Case:
    """A video to upscale, and the suffix of the output: .mp4 is H.264, .mkv is FFV1."""

    name: str
    width: int
    height: int
    frames: int
    suffix: str = ".mp4"


CASES = (
    Case("540p", 960, 540, 10),
    Case("540p-long", 960, 540, 40),
    Case("540p-mkv", 960, 540, 10, ".mkv"),
    Case("1080p", 1920, 1080, 6),
    Case("1080p-long", 1920, 1080, 24),
    Case("1080p-mkv", 1920, 1080, 6, ".mkv"),
    Case("4k", 3840, 2160, 3),
    Case("4k-long", 3840, 2160, 12),
    Case("4k-mkv", 3840, 2160, 3, ".mkv"),
)


def make_video(case: Case, path: Path) -> None:
    """Writes a moving test picture as H.264."""
    picture = f"testsrc2=s={case.width}x{case.height}:r=25"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", picture]
    subprocess.run(  # noqa: S603
        [*command, "-frames:v", str(case.frames), "-pix_fmt", "yuv420p", path], check=True
    )


def make_model(folder: Path) -> None:
    """Writes a FastVSR model with random weights that change the output a little."""
    torch.manual_seed(0)
    model = build_model("fastvsr", SCALE)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    save_converted(folder, state_of(model), "fastvsr", SCALE, {}, "random weights")


def peak_memory(command: list[str | Path]) -> float:
    """Runs a command and returns the peak of its resident memory in GB (10⁹ bytes)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with exit code {process.returncode}")
    return usage.ru_maxrss * _RSS_UNIT / 1e9


def main(names: list[str]) -> None:
    """Prints a table of the cases."""
    fedvsr = Path(sys.executable).with_name("fedvsr")
    print(f"{'video':<12} {'size':>10} {'frames':>6} {'peak GB':>8} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_model(root / "model")
        for case in CASES:
            if names and case.name not in names:
                continue
            source, target = root / "in.mp4", root / f"out{case.suffix}"
            make_video(case, source)
            start = time.monotonic()
            peak = peak_memory(
                [fedvsr, "upscale", source, target, "--model", root / "model", "--device", "cpu"]
            )
            seconds = time.monotonic() - start
            size = f"{case.width}×{case.height}"
            print(f"{case.name:<12} {size:>10} {case.frames:6} {peak:8.2f} {seconds:8.1f}", flush=True)
            target.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
