"""Fixtures of several folders: stores, tiny clips, tiny runs and an S3 server."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minio import Minio
from urllib3.util import parse_url

from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.federation import layout
from fedvsr.federation.records import write_record
from fedvsr.federation.shard_records import ManifestRecord, ShardFile
from fedvsr.store.base import Store
from fedvsr.store.digest_cache import CACHE_VARIABLE
from fedvsr.store.local import LocalStore
from fedvsr.store.s3_connection import ENDPOINT_VARIABLE
from fedvsr.store.workspace import Workspace
from fedvsr.strategies.updates import Updates
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, shard_kind, write_shard
from tests.unit.strategies.update_files import open_updates

SCALE = 2
S3_SERVER_VARIABLE = "FEDVSR_TEST_S3_ENDPOINT"

# One thread per worker of pytest-xdist. The computations are tiny, and several threads on a busy machine
# would wait for each other and take many times longer. PyTorch reads this variable on import.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The stores of a federation in an empty folder."""
    return Workspace.under(str(tmp_path / "stores"))


@pytest.fixture
def local_store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., np.ndarray]:
    """Makes a moving pattern from a seed: uint8 (frames, size, size, 3)."""

    def make(seed: int, frames: int = 6, size: int = 32) -> np.ndarray:
        random = np.random.default_rng(seed)
        waves = random.uniform(0.2, 1.2, (3, 2))
        rows, columns = np.mgrid[:size, :size]
        clip = [
            [np.sin(u * (rows + time) + v * (columns - time)) for u, v in waves] for time in range(frames)
        ]
        return np.uint8(np.rint(127.5 + 127.5 * np.array(clip))).transpose(0, 2, 3, 1)

    return make


@pytest.fixture(scope="session")
def write_clips() -> Callable[..., None]:
    """Writes clips as shards, without videos. A low-resolution pixel is the mean of SCALE × SCALE pixels."""

    def write(store: Store, folder: str, clips: Mapping[str, np.ndarray], work: Path) -> None:
        def shrink(frames: np.ndarray) -> np.ndarray:
            length, height, width, _ = frames.shape
            blocks = frames.reshape(length, height // SCALE, SCALE, width // SCALE, SCALE, 3)
            return np.uint8(np.rint(blocks.mean(axis=(2, 4))))

        for kind, convert in ((GROUND_TRUTH, np.asarray), (shard_kind("bi", SCALE), shrink)):
            pixels = {name: convert(frames) for name, frames in clips.items()}
            path = work / "shard"
            described_clips = [(_describe(name, frames), frames) for name, frames in pixels.items()]
            info = write_shard(path, kind, described_clips)
            store.upload(layout.shard(folder, kind, info.digest), path)
            shard = ShardFile(
                digest=info.digest,
                bytes=info.size_bytes,
                clips=tuple(pixels),
                frames=sum(len(frames) for frames in pixels.values()),
            )
            manifest = ManifestRecord(
                dataset="default", kind=kind, source_digest="", settings_digest="", shards=(shard,)
            )
            write_record(store, layout.manifest(folder, kind), manifest)

    return write


def _describe(name: str, frames: np.ndarray) -> ClipInfo:
    length, height, width, _ = frames.shape
    return ClipInfo(name=name, frames=length, height=height, width=width, fps=25, source=f"{name}.mp4")


@pytest.fixture(scope="session")
def make_config() -> Callable[..., RunConfig]:
    """Makes the configuration of a tiny run. A keyword is a dotted field name with __ for the dot."""

    def make(**overrides: Any) -> RunConfig:
        values: dict[str, Any] = {
            "name": "test",
            "data": {"scale": SCALE, "minimum_frames": 3},
            "model": {"name": "fastvsr", "options": {"channels": 4, "blocks": 1}},
            "training": {
                "local_steps": 2,
                "batch_size": 2,
                "frames": 3,
                "patch_size": 16,
                "device": "cpu",
                "threads": 1,
            },
            "strategy": {"name": "fedavg"},
            "federation": {"rounds": 2, "clients": ["ann", "bob"]},
        }
        for name, value in overrides.items():
            *sections, leaf = name.split("__")
            inner = values
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[leaf] = value
        return RunConfig.parse(values)

    return make


@pytest.fixture
def give_clips(
    workspace: Workspace,
    write_clips: Callable[..., None],
    make_clip: Callable[..., np.ndarray],
    tmp_path: Path,
) -> Callable[..., None]:
    """Gives each client of the workspace a number of clips, and the federation one held-out clip."""

    def give(clients: Mapping[str, int]) -> None:
        folder = DataConfig().dataset
        for number, (client, count) in enumerate(sorted(clients.items()), start=1):
            clips = {f"{client}-{index}": make_clip(100 * number + index) for index in range(count)}
            write_clips(workspace.client(client), layout.training_clips(folder), clips, tmp_path)
        held_out = {"held-out": make_clip(7)}
        write_clips(workspace.federation(), layout.held_out_clips(folder), held_out, tmp_path)

    return give


@pytest.fixture
def make_updates(tmp_path: Path) -> Callable[..., Updates]:
    """Writes each client's tensors to a weights file and opens the files as a round's updates."""
    numbers: Iterator[int] = iter(range(1_000_000))

    def make(tensors: Mapping[str, Mapping[str, np.ndarray]]) -> Updates:
        return open_updates({client: tmp_path / f"update-{next(numbers)}" for client in tensors}, tensors)

    return make


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, with credentials for it in the environment."""
    endpoint = os.environ.get(S3_SERVER_VARIABLE)
    if endpoint:
        yield endpoint
        return
    # This import takes seconds, and most tests do not need it.
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_server: str) -> Minio:
    url = parse_url(s3_server)
    return Minio(
        endpoint=url.netloc or "",
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=url.scheme == "https",
        region="us-east-1",
    )


@pytest.fixture(scope="session")
def bucket(s3_client: Minio) -> Iterator[str]:
    """A bucket for the tests, deleted afterwards."""
    name = f"fedvsr-test-{uuid.uuid4().hex[:12]}"
    s3_client.make_bucket(bucket_name=name)
    yield name
    for item in s3_client.list_objects(bucket_name=name, recursive=True):
        s3_client.remove_object(bucket_name=name, object_name=str(item.object_name))
    s3_client.remove_bucket(bucket_name=name)


@pytest.fixture
def s3_environment(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes S3Store use the server and a cache folder; the value is the cache folder."""
    cache = tmp_path / "cache"
    monkeypatch.setenv(ENDPOINT_VARIABLE, s3_server)
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    return cache
