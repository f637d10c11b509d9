"""Compares the speed of `VideoReader` with that of OpenCV's reader on H.264, in one run, alternating.

Run ``.venv/bin/python benchmarks/video_decoding.py``; it takes a minute. Both decode the same files to RGB:
OpenCV's frames are converted from blue first, as every user of RGB must. `VideoReader` also looks for damage
and for interlaced content.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio_ffmpeg

from fedvsr.video.decode import VideoReader
from fedvsr.video.frames import Frames

CASES = {"SD": (720, 576, 500), "HD": (1280, 720, 300), "Full HD": (1920, 1080, 200), "4K": (3840, 2160, 50)}
# A camera's noise over moving detail: its bit rate is that of a film, which that of a test picture is not.
PICTURE = "testsrc2=s={width}x{height}:r=25,noise=alls=6:allf=t"


def read_with_fedvsr(path: Path) -> Iterator[Frames]:
    with VideoReader(path) as video:
        yield from video


def read_with_opencv(path: Path) -> Iterator[Frames]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    while True:
        decoded, frame = capture.read()
        if not decoded:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def make_video(path: Path, width: int, height: int, frames: int) -> None:
    """Writes a noisy test picture as H.264."""
    picture = PICTURE.format(width=width, height=height)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", picture]
    encoding = ["-frames:v", str(frames), "-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *encoding, path], check=True)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"frames per second, best of {repeats}\n")
    print("| video | size | fedvsr | OpenCV | ratio |")
    print("|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        for name, (width, height, frames) in CASES.items():
            path = Path(temporary) / f"{name}.mp4"
            make_video(path, width, height, frames)
            seconds = [float("inf"), float("inf")]
            for _ in range(repeats):
                for index, read in enumerate((read_with_fedvsr, read_with_opencv)):
                    start = time.perf_counter()
                    assert sum(1 for _ in read(path)) == frames
                    seconds[index] = min(seconds[index], time.perf_counter() - start)
            ours, theirs = (frames / value for value in seconds)
            print(
                f"| {name} | {width}×{height} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
