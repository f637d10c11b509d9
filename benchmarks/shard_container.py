"""Compares the shard container with other ways to keep clips: size on disk and time of a random patch.

Run ``.venv/bin/python benchmarks/shard_container.py``; takes less than a minute. A patch is 7 frames of
128×128 pixels at a random place and time of a random clip, copied into memory, files being in the page
cache. The peers are what a training set of videos is usually kept as: the H.264 files themselves, PNG
frames, and compressed NumPy archives.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fedvsr.video.decode import VideoReader, list_videos, read_frames
from fedvsr.video.encode import VideoWriter
from fedvsr.video.frames import Frames
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, open_shard, write_shard

FRAMES = 7
PATCH_SIZE = 128
SHARD = "fedvsr shard"

Window = tuple[slice, slice, slice]
Reader = Callable[[str, Window], Frames]


def fill_shard(folder: Path, clips: dict[str, Frames]) -> Reader:
    described = (
        (
            ClipInfo(
                name=name, frames=len(clip), height=clip.shape[1], width=clip.shape[2], fps=24.0, source=name
            ),
            clip,
        )
        for name, clip in clips.items()
    )
    write_shard(folder / "frames.safetensors", GROUND_TRUTH, described)
    shard = open_shard(folder / "frames.safetensors")
    return lambda name, window: np.array(shard[name][window])


def fill_png(folder: Path, clips: dict[str, Frames]) -> Reader:
    for name, clip in clips.items():
        with VideoWriter(folder / name, fps=24.0) as video:
            for frame in clip:
                video.write(frame)

    def read(name: str, window: Window) -> Frames:
        times, rows, columns = window
        images = (
            cv2.imread(str(folder / name / f"{index:08d}.png"), cv2.IMREAD_COLOR_RGB)
            for index in range(times.start, times.stop)
        )
        return np.stack([image[rows, columns] for image in images])

    return read


def fill_archives(folder: Path, clips: dict[str, Frames]) -> Reader:
    for name, clip in clips.items():
        np.savez_compressed(folder / f"{name}.npz", frames=clip)

    def read(name: str, window: Window) -> Frames:
        with np.load(folder / f"{name}.npz") as archive:
            return np.array(archive["frames"][window])

    return read


def read_videos(videos: dict[str, Path]) -> Reader:
    def read(name: str, window: Window) -> Frames:
        times, rows, columns = window
        return read_frames(videos[name], times.start, times.stop)[:, rows, columns]

    return read


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def draw_windows(clips: dict[str, Frames], count: int) -> list[tuple[str, Window]]:
    random = np.random.default_rng(0)
    names = list(clips)
    drawn = []
    for _ in range(count):
        name = names[random.integers(len(names))]
        starts = [
            int(random.integers(length - needed + 1))
            for length, needed in zip(clips[name].shape, (FRAMES, PATCH_SIZE, PATCH_SIZE), strict=False)
        ]
        time_slice, rows, columns = (
            slice(start, start + needed)
            for start, needed in zip(starts, (FRAMES, PATCH_SIZE, PATCH_SIZE), strict=True)
        )
        drawn.append((name, (time_slice, rows, columns)))
    return drawn


def measure(read: Reader, windows: list[tuple[str, Window]], seconds: float) -> float:
    """Returns the median time of a patch, in seconds; stops after ``seconds`` or all windows."""
    read(*windows[0])
    times = []
    end = time.perf_counter() + seconds
    for name, window in windows:
        start = time.perf_counter()
        patch = read(name, window)
        times.append(time.perf_counter() - start)
        assert patch.shape == (FRAMES, PATCH_SIZE, PATCH_SIZE, 3)
        if time.perf_counter() > end and len(times) >= 20:
            break
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, default=Path(__file__).parents[1] / "samples")
    parser.add_argument("--pattern", default="train_*.mp4")
    parser.add_argument("--seconds", type=float, default=4.0, help="time given to each container")
    arguments = parser.parse_args()

    videos = {path.stem: path for path in list_videos(arguments.videos, arguments.pattern)}
    clips = {}
    for name, path in videos.items():
        with VideoReader(path) as video:
            clips[name] = np.stack(list(video))
    windows = draw_windows(clips, 2000)

    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("shard", "png", "npz")}
        for folder in folders.values():
            folder.mkdir()
        containers = {
            SHARD: (fill_shard(folders["shard"], clips), lambda: size_of(folders["shard"])),
            "H.264 (OpenCV)": (
                read_videos(videos),
                lambda: sum(path.stat().st_size for path in videos.values()),
            ),
            "PNG frames": (fill_png(folders["png"], clips), lambda: size_of(folders["png"])),
            "npz, zlib": (fill_archives(folders["npz"], clips), lambda: size_of(folders["npz"])),
        }
        rows = [
            (name, size(), measure(read, windows, arguments.seconds))
            for name, (read, size) in containers.items()
        ]

    _, shard_size, shard_time = rows[0]
    shapes = sorted({clip.shape for clip in clips.values()})
    print(
        f"{len(clips)} clips of {shapes}, patches of {FRAMES}×{PATCH_SIZE}×{PATCH_SIZE}, "
        f"{cv2.getNumThreads()} threads\n"
    )
    print("| container | MB on disk | size, × shard | ms a patch (median) | time, × shard |")
    print("|---|---:|---:|---:|---:|")
    for name, size, seconds in rows:
        print(
            f"| {name} | {size / 1e6:.1f} | {size / shard_size:.3f} "
            f"| {seconds * 1e3:.3f} | {seconds / shard_time:.1f} |"
        )


if __name__ == "__main__":
    main()
