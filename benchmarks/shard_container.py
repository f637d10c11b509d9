"""Compares shards with other containers for clips: size on disk, and time to read a random patch.

Run ``.venv/bin/python benchmarks/shard_container.py``. It takes less than a minute. A patch is 7 frames of
128×128 pixels at a random position in a random clip, copied to memory while the files are in the page
cache. The peers are the usual containers of training videos: the H.264 files themselves, PNG frames, and
compressed NumPy archives.
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
from fedvsr.video.listing import list_videos
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, open_shard, write_shard

FRAMES = 7
PATCH_SIZE = 128
PATCH_SHAPE = (FRAMES, PATCH_SIZE, PATCH_SIZE)
MIN_PATCHES = 20
"""Each container is timed on at least this many patches, so that the median has a meaning."""

Window = tuple[slice, slice, slice]
Reader = Callable[[str, Window], Frames]


def make_shard_reader(folder: Path, clips: dict[str, Frames]) -> Reader:
    """Writes clips to a shard in an empty folder; returns a function that reads a window from it."""
    described_clips = (
        (
            ClipInfo(
                name=name, frames=len(clip), height=clip.shape[1], width=clip.shape[2], fps=24.0, source=name
            ),
            clip,
        )
        for name, clip in clips.items()
    )
    write_shard(folder / "frames.safetensors", GROUND_TRUTH, described_clips)
    shard = open_shard(folder / "frames.safetensors")
    return lambda name, window: np.array(shard[name][window])


def make_png_reader(folder: Path, clips: dict[str, Frames]) -> Reader:
    """Writes each clip to a folder of PNG frames; returns a function that reads a window from them."""
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


def make_archive_reader(folder: Path, clips: dict[str, Frames]) -> Reader:
    """Writes each clip to a compressed archive; returns a function that reads a window from them."""
    for name, clip in clips.items():
        np.savez_compressed(folder / f"{name}.npz", frames=clip)

    def read(name: str, window: Window) -> Frames:
        with np.load(folder / f"{name}.npz") as archive:
            return np.array(archive["frames"][window])

    return read


def make_video_reader(videos: dict[str, Path]) -> Reader:
    """Returns a function that decodes a window from the videos themselves."""

    def read(name: str, window: Window) -> Frames:
        times, rows, columns = window
        return read_frames(videos[name], times.start, times.stop)[:, rows, columns]

    return read


def folder_size(folder: Path) -> int:
    """Returns the size of a folder's files in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def draw_windows(clips: dict[str, Frames], count: int) -> list[tuple[str, Window]]:
    """Returns random windows of one patch each, with the names of their clips."""
    random = np.random.default_rng(0)
    names = list(clips)
    windows = []
    for _ in range(count):
        name = names[random.integers(len(names))]
        starts = [
            int(random.integers(clip_length - patch_length + 1))
            for clip_length, patch_length in zip(clips[name].shape[:3], PATCH_SHAPE, strict=True)
        ]
        times, rows, columns = (
            slice(start, start + patch_length)
            for start, patch_length in zip(starts, PATCH_SHAPE, strict=True)
        )
        windows.append((name, (times, rows, columns)))
    return windows


def measure(read: Reader, windows: list[tuple[str, Window]], seconds: float) -> float:
    """Returns the median time of a patch in seconds. Stops after ``seconds``, or after all windows."""
    read(*windows[0])  # not timed: it opens files and allocates memory
    times = []
    deadline = time.perf_counter() + seconds
    for name, window in windows:
        start = time.perf_counter()
        patch = read(name, window)
        times.append(time.perf_counter() - start)
        assert patch.shape == (*PATCH_SHAPE, 3)
        if time.perf_counter() > deadline and len(times) >= MIN_PATCHES:
            break
    return float(np.median(times))


def measure_containers(
    videos: dict[str, Path], clips: dict[str, Frames], seconds: float
) -> list[tuple[str, int, float]]:
    """Returns each container's name, size in bytes and median time of a patch in seconds, shards first."""
    windows = draw_windows(clips, 2000)
    videos_size = sum(path.stat().st_size for path in videos.values())
    measurements = []
    with tempfile.TemporaryDirectory() as temporary:
        shard, png, archives = (Path(temporary) / name for name in ("shard", "png", "npz"))
        for folder in (shard, png, archives):
            folder.mkdir()
        shard_reader = make_shard_reader(shard, clips)
        png_reader = make_png_reader(png, clips)
        archive_reader = make_archive_reader(archives, clips)
        for name, size, reader in (
            ("fedvsr shard", folder_size(shard), shard_reader),
            ("H.264 (OpenCV)", videos_size, make_video_reader(videos)),
            ("PNG frames", folder_size(png), png_reader),
            ("npz, zlib", folder_size(archives), archive_reader),
        ):
            measurements.append((name, size, measure(reader, windows, seconds)))
    return measurements


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, default=Path(__file__).parents[1] / "samples")
    parser.add_argument("--pattern", default="train_*.mp4")
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time per container")
    arguments = parser.parse_args()

    videos = {path.stem: path for path in list_videos(arguments.videos, arguments.pattern)}
    clips = {name: read_frames(path) for name, path in videos.items()}
    measurements = measure_containers(videos, clips, arguments.seconds)

    _, shard_size, shard_time = measurements[0]
    shapes = sorted({clip.shape for clip in clips.values()})
    print(
        f"{len(clips)} clips of {shapes}, patches of {FRAMES}×{PATCH_SIZE}×{PATCH_SIZE}, "
        f"{cv2.getNumThreads()} threads\n"
    )
    print("| container | MB on disk | size, × shard | ms per patch (median) | time, × shard |")
    print("|---|---:|---:|---:|---:|")
    for name, size, seconds in measurements:
        print(
            f"| {name} | {size / 1e6:.1f} | {size / shard_size:.3f} "
            f"| {seconds * 1e3:.3f} | {seconds / shard_time:.1f} |"
        )


if __name__ == "__main__":
    main()
