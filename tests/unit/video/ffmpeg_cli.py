"""The ffmpeg command line: it makes inputs, and is an independent judge of what `fedvsr` wrote."""

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from fedvsr.video.encode import VideoWriter


def ffmpeg(*arguments: object) -> bytes:
    """Runs ffmpeg and returns what it writes to stdout."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def describe(path: Path) -> str:
    """Returns what ffmpeg says about a file."""
    run = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", f"file:{path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stderr


def decode(path: Path, filters: str = "null", kind: str = "rgb24") -> np.ndarray:
    """Decodes every frame with ffmpeg: (T, H, W, 3)."""
    width, height = map(int, re.search(r"Video:.*?, (\d+)x(\d+)", describe(path)).groups())
    raw = ffmpeg(
        "-i", f"file:{path}", "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", filters,
        "-f", "rawvideo", "-pix_fmt", kind, "-",
    )  # fmt: skip
    return np.frombuffer(raw, np.uint16 if "48" in kind else np.uint8).reshape(-1, height, width, 3)


def decode_sound(path: Path, stream: int = 0, rate: int = 48_000) -> np.ndarray:
    """Decodes a stream of sound with ffmpeg: one channel of samples from time 0 on, in −1..1."""
    raw = ffmpeg(
        "-i", f"file:{path}", "-map", f"0:a:{stream}", "-af", "aresample=async=1:first_pts=0",
        "-ac", 1, "-ar", rate, "-f", "f32le", "-",
    )  # fmt: skip
    return np.frombuffer(raw, np.float32)


def frame_times(path: Path) -> list[Fraction]:
    """Returns when each frame is shown, in seconds on the file's clock."""
    with av.open(f"file:{path}") as video:
        stream = next(stream for stream in video.streams.video if not stream.disposition & 1024)
        return [frame.pts * frame.time_base for frame in video.decode(stream)]


def rewrite(source: Path, target: Path, **options: object) -> VideoWriter:
    """Copies a film through VideoWriter, as `fedvsr upscale` does with a model that changes nothing."""
    start, duration = options.get("start", Fraction(0)), options.get("duration")
    with av.open(f"file:{source}") as video:
        begin = Fraction(video.start_time or 0, av.time_base)
        rate = video.streams.video[0].average_rate
        frames = [
            (frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base - begin)
            for frame in video.decode(video=0)
        ]
    frames = [(pixels, time) for pixels, time in frames if time >= start]
    frames = [(pixels, time) for pixels, time in frames if duration is None or time < start + duration]
    size = frames[0][0].shape[:2]
    with VideoWriter(target, rate, size=size, copy_from=source, **options) as writer:
        for pixels, time in frames:
            writer.write(pixels, time)
    return writer
