"""Compares the ways to store frames, and BasicSR's readers: time to make shards, size, patches a second.

    python benchmarks/storages.py [--growth 0.2 2]

The videos show photographs of scikit-image with camera motion, 1920×1080, in H.264. A patch is 15 frames of
256×256 pixels and its low resolution at ×4, as in BasicVSR's recipe. One thread reads; files are in the page
cache. The peers read the same frames as PNG files, and as PNG in LMDB if the package ``lmdb`` is installed,
as BasicSR does for REDS. ``--growth`` measures a round with 20 batches of 4 patches at libraries of so many
GB.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from skimage import data as photographs

from fedvsr.config.run import DataConfig
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import LocalVideo
from fedvsr.store.local import LocalStore
from fedvsr.video.decode import read_frames
from fedvsr.video.encode import VideoWriter
from fedvsr.video.frames import Frames
from fedvsr.video.patches import PatchSampler
from fedvsr.video.resize import downscale

Local = Callable[[LocalStore, str, str], Path]

FRAMES, PATCH, SCALE = 15, 256, 4
HEIGHT, WIDTH, LENGTH = 1080, 1920, 48
HOUR = 3600 * 24 * HEIGHT * WIDTH * 3
"""The bytes of an hour's pixels."""
DATA = DataConfig(split_shots=False, minimum_frames=FRAMES, maximum_frames=LENGTH)
FOLDER = layout.training_clips(DATA.dataset)
CHOICES = [
    ("raw", "stored"),
    ("raw", "computed"),
    ("lossless", "stored"),
    ("lossless", "computed"),
    ("source", "computed"),
]


def film() -> Iterator[Frames]:
    """Yields the frames of a video that pans over photographs."""
    photos = [photographs.astronaut(), photographs.coffee(), photographs.chelsea(), photographs.rocket()]
    tiles = [cv2.resize(photo, (560, 420), interpolation=cv2.INTER_AREA) for photo in photos]
    rows = [np.concatenate(tiles[first:] + tiles[:first], 1) for first in range(3)]
    canvas = np.concatenate(rows)
    for number in range(LENGTH):
        yield np.ascontiguousarray(canvas[2 * number :][:HEIGHT, 3 * number :][:, :WIDTH])


def patches_per_second(draw: Callable[[int], object], seconds: float = 4.0) -> float:
    """Returns how many patches a second of this process's CPU time a function gives."""
    draw(0)
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        count += 1
        draw(count)
    return count / (time.process_time() - start)


def sampler_of(store: LocalStore, config: DataConfig, batch_size: int) -> PatchSampler:
    pairs = open_clips(store, FOLDER, config)
    return PatchSampler(pairs, frames=FRAMES, patch_size=PATCH, batch_size=batch_size, seed=0)


def size_of(store: LocalStore) -> int:
    return sum(store.size(key) for key in store.keys(FOLDER))


def measure_storages(folder: Path, videos: list[LocalVideo]) -> None:
    """Prints a row for each way to store the frames of videos."""
    pixels = len(videos) * LENGTH * HEIGHT * WIDTH * 3
    print("| frames | low resolution | sharding, MB/s | an hour of 1080p, GB | patches/s |")
    print("|---|---|---:|---:|---:|")
    for storage, low_resolution in CHOICES:
        config = DATA.model_copy(update={"storage": storage, "low_resolution": low_resolution})
        store = LocalStore(folder / f"{storage}-{low_resolution}")
        start = time.perf_counter()
        shard_videos(store, FOLDER, videos, config, "benchmark")
        speed = pixels / (time.perf_counter() - start) / 1e6
        rate = patches_per_second(sampler_of(store, config, 1).batch)
        hour = size_of(store) / pixels * HOUR / 1e9
        print(f"| {storage} | {low_resolution} | {speed:.0f} | {hour:.0f} | {rate:.2f} |", flush=True)


def measure_peers(folder: Path, videos: list[LocalVideo]) -> None:
    """Prints a row for each of BasicSR's readers."""
    encoded: dict[str, bytes] = {}
    for video in videos:
        for number, frame in enumerate(read_frames(video.path)):
            for kind, picture in (("gt", frame), ("lq", downscale(frame[None], SCALE)[0])):
                _, png = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
                encoded[f"{kind}-{video.name}-{number}"] = png.tobytes()
    for name, data in encoded.items():
        (folder / f"{name}.png").write_bytes(data)
    hour = sum(map(len, encoded.values())) / (len(videos) * LENGTH * HEIGHT * WIDTH * 3) * HOUR / 1e9
    readers = {"PNG files": lambda name: (folder / f"{name}.png").read_bytes()}
    try:
        import lmdb
    except ImportError:
        print("skipped: LMDB, because the package lmdb is not installed")
    else:
        environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 36)
        with environment.begin(write=True) as transaction:
            for name, data in encoded.items():
                transaction.put(name.encode(), data)
        readers["PNG in LMDB"] = lambda name: environment.begin().get(name.encode())
    for title, read in readers.items():
        random = np.random.default_rng(0)

        def draw(
            step: int, read: Callable[[str], bytes] = read, random: np.random.Generator = random
        ) -> object:
            first = int(random.integers(LENGTH - FRAMES + 1))
            top = int(random.integers((HEIGHT - PATCH) // SCALE))
            left = int(random.integers((WIDTH - PATCH) // SCALE))
            patch = []
            for kind, factor in (("gt", SCALE), ("lq", 1)):
                side = PATCH // SCALE * factor
                for number in range(first, first + FRAMES):
                    data = np.frombuffer(read(f"{kind}-{videos[step % len(videos)].name}-{number}"), np.uint8)
                    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)[factor * top :, factor * left :]
                    patch.append(picture[:side, :side, ::-1].astype(np.float32) / 255)
            return patch

        print(f"| {title} (BasicSR) | stored | – | {hour:.0f} | {patches_per_second(draw):.2f} |", flush=True)


def measure_growth(folder: Path, video: Path, gigabytes: list[float]) -> None:
    """Prints what a round reads and how long it takes, at libraries of several sizes."""
    print("\n| library, GB | clips | opening, s | 80 patches, s | read, GB | adding one video, s |")
    print("|---:|---:|---:|---:|---:|---:|")
    for size in gigabytes:
        count = max(4, round(size * 1e9 / (LENGTH * HEIGHT * WIDTH * 3 * 17 / 16)))
        store = LocalStore(folder / f"growth-{size}")
        videos = [LocalVideo(f"film-{number}", video) for number in range(count + 1)]
        shard_videos(store, FOLDER, videos[:-1], DATA, "benchmark")
        start = time.perf_counter()
        sampler = sampler_of(store, DATA, 4)
        opened = time.perf_counter()
        read: list[int] = []
        local = LocalStore.local

        def count_bytes(
            self: LocalStore, key: str, digest: str, read: list[int] = read, local: Local = local
        ) -> Path:
            read.append(self.size(key))
            return local(self, key, digest)

        with mock.patch.object(LocalStore, "local", count_bytes):
            for step in range(20):
                sampler.batch(step)
        done = time.perf_counter()
        shard_videos(store, FOLDER, videos, DATA, "benchmark")
        added = time.perf_counter() - done
        print(
            f"| {size_of(store) / 1e9:.1f} | {count} | {opened - start:.2f} | {done - opened:.1f} "
            f"| {sum(read) / 1e9:.2f} | {added:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=2, help="number of videos of 2 s")
    parser.add_argument("--growth", type=float, nargs="*", default=[], help="sizes of libraries, in GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storages-") as temporary:
        folder = Path(temporary)
        path = folder / "film.mp4"
        with VideoWriter(path, fps=24.0) as writer:
            for frame in film():
                writer.write(frame)
        videos = [LocalVideo(f"film-{number}", path) for number in range(options.videos)]
        measure_storages(folder, videos)
        measure_peers(folder, videos)
        if options.growth:
            measure_growth(folder, path, options.growth)


if __name__ == "__main__":
    main()
