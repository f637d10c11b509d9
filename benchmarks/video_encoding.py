"""Compares the speed of `VideoWriter` with that of OpenCV's writer, in one run, alternating.

Run ``.venv/bin/python benchmarks/video_encoding.py``. It takes a few minutes. Both get the same RGB frames
in memory and end with a closed file; the time includes the conversion of colours. OpenCV's frames are put
blue first, as it wants them, before the clock starts. `VideoWriter` also tries the format before the first
frame, and waits at the end until the file is on the disk.

The fair pair is FFV1 in .mkv, which both write. OpenCV has no H.264: its .mp4 is MPEG-4 Part 2, an older and
simpler codec. The table gives the size of the files and the mean PSNR of the decoded frames beside the speed,
so that the H.264 presets can be compared with it at equal quality or size.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fedvsr.video.decode import read_frames
from fedvsr.video.encode import VideoWriter
from fedvsr.video.frames import Frames
from fedvsr.video.writing.output_formats import output_format

FRAMES_PER_SECOND = 24
Writer = Callable[[Path, Frames, Frames], None]


def write_with_fedvsr(codec: str, crf: int | None = None, preset: str | None = None) -> Writer:
    """Returns a function that writes frames with `VideoWriter`."""

    def write(path: Path, frames: Frames, blue_first: Frames) -> None:
        chosen = output_format(path, codec=codec, crf=crf, preset=preset)
        with VideoWriter(path, FRAMES_PER_SECOND, output_format=chosen) as video:
            for frame in frames:
                video.write(frame)

    return write


def write_with_opencv(fourcc: str) -> Writer:
    """Returns a function that writes frames with OpenCV's FFmpeg."""

    def write(path: Path, frames: Frames, blue_first: Frames) -> None:
        height, width = frames.shape[1:3]
        code = cv2.VideoWriter.fourcc(*fourcc)
        video = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, FRAMES_PER_SECOND, (width, height))
        assert video.isOpened()
        for frame in blue_first:
            video.write(frame)
        video.release()

    return write


PAIRS: tuple[tuple[str, str, Writer, Writer], ...] = (
    ("FFV1", ".mkv", write_with_fedvsr("ffv1"), write_with_opencv("FFV1")),
    ("H.264 veryfast", ".mp4", write_with_fedvsr("h264", 23, "veryfast"), write_with_opencv("mp4v")),
    ("H.264 medium (default)", ".mp4", write_with_fedvsr("h264"), write_with_opencv("mp4v")),
)


def make_frames(source: Path, count: int, size: tuple[int, int]) -> Frames:
    """Returns the first frames of a video, enlarged to a size (height, width)."""
    clip = read_frames(source, 0, count)
    return np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC) for frame in clip])


def psnr(path: Path, frames: Frames) -> float:
    """Returns the mean PSNR in dB of a file's frames; infinite if they are exact."""
    error = np.mean(np.square(read_frames(path).astype(np.float32) - frames.astype(np.float32)))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def measure(write: Writer, path: Path, frames: Frames, blue_first: Frames) -> float:
    """Returns the seconds that it takes to write a file."""
    start = time.perf_counter()
    write(path, frames, blue_first)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, default=Path(__file__).parents[1] / "samples" / "train_000.mp4"
    )
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    frames = make_frames(arguments.source, arguments.frames, (arguments.height, arguments.width))
    blue_first = frames[..., ::-1].copy()
    print(f"{len(frames)} frames of {arguments.width}×{arguments.height}, best of {arguments.repeats}\n")
    print("| fedvsr | OpenCV | fps | fps, OpenCV | ratio | MB | MB, OpenCV | dB | dB, OpenCV |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        for title, suffix, ours, theirs in PAIRS:
            paths = [Path(temporary) / f"{name}{suffix}" for name in ("fedvsr", "opencv")]
            seconds = [float("inf"), float("inf")]
            for _ in range(arguments.repeats):
                for index, write in enumerate((ours, theirs)):
                    elapsed = measure(write, paths[index], frames, blue_first)
                    seconds[index] = min(seconds[index], elapsed)
            rates = [len(frames) / value for value in seconds]
            megabytes = [path.stat().st_size / 1e6 for path in paths]
            quality = [psnr(path, frames) for path in paths]
            peer = "FFV1" if suffix == ".mkv" else "MPEG-4 Part 2"
            print(
                f"| {title} | {peer} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[0] / rates[1]:.2f} "
                f"| {megabytes[0]:.1f} | {megabytes[1]:.1f} | {quality[0]:.1f} | {quality[1]:.1f} |"
            )


if __name__ == "__main__":
    main()
