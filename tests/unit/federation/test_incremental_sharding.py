"""New shards after videos changed: the same bytes as from nothing, and only what changed is decoded."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedvsr.config.run import DataConfig
from fedvsr.federation import layout
from fedvsr.federation.owner import cutting
from fedvsr.federation.owner.fingerprint_cache import FingerprintCache
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import local_videos
from fedvsr.federation.shard_records import Manifests
from fedvsr.progress import Progress
from fedvsr.store.local import LocalStore
from tests.unit.tiny_run import write_video

DATA = DataConfig(scale=2, minimum_frames=3, maximum_frames=4, split_shots=False)
FOLDER = layout.training_clips(DATA.dataset)
NAMES = ("a", "b", "c", "d")


class Lines(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Videos of different lengths, and one that is no video."""
    root = tmp_path_factory.mktemp("sources")
    paths = []
    for seed in range(4):
        path = root / f"{seed}.avi"
        write_video(path, seed, frames=5 + 3 * seed, size=(32, 48))
        paths.append(path)
    broken = root / "broken.avi"
    broken.write_bytes(b"no video")
    return [*paths, broken]


def give(folder: Path, sources: list[Path], chosen: dict[str, int]) -> None:
    """Makes a folder have exactly these videos, by name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, source in chosen.items():
        shutil.copy(sources[source], folder / f"{name}.avi")


def shard(store: LocalStore, folder: Path, progress: Progress | None = None) -> Manifests:
    return shard_videos(store, FOLDER, local_videos(folder), DATA, "ann", progress)


collections = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 4), min_size=1).filter(
    lambda chosen: any(source < 4 for source in chosen.values())
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(states=st.lists(collections, min_size=2, max_size=4))
def test_the_shards_are_those_of_a_sharding_from_nothing(sources, tmp_path_factory, states):
    root = tmp_path_factory.mktemp("incremental")
    store = LocalStore(root / "store")
    for chosen in states:
        give(root / "videos", sources, chosen)
        manifests = shard(store, root / "videos")
    fresh = LocalStore(root / "fresh")
    assert shard(fresh, root / "videos") == manifests
    # Nothing of the earlier videos is left, and every byte is the same.
    assert sorted(store.keys("")) == sorted(fresh.keys(""))
    assert all(store.read(key) == fresh.read(key) for key in fresh.keys(""))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []

    class Reader(cutting.VideoReader):  # type: ignore[type-arg]
        def __init__(self, path: Path, **options: object) -> None:
            names.append(path.name)
            super().__init__(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cutting, "VideoReader", Reader)
    return names


def test_only_new_and_changed_videos_are_decoded(sources, tmp_path, decoded):
    store, folder = LocalStore(tmp_path / "store"), tmp_path / "videos"
    give(folder, sources, {"a": 0, "b": 1, "c": 2})
    shard(store, folder)
    decoded.clear()
    give(folder, sources, {"a": 0, "b": 3, "c": 2, "d": 1})
    shard(store, folder)
    assert decoded == ["b.avi", "d.avi"]


def test_a_damaged_shard_is_told_and_does_not_spread(sources, tmp_path, decoded):
    store, folder = LocalStore(tmp_path / "store"), tmp_path / "videos"
    give(folder, sources, {"a": 0})
    shard(store, folder)
    (key,) = [key for key in store.keys(f"{FOLDER}frames/") if key.endswith(".safetensors")]
    path = Path(store.uri) / key
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    decoded.clear()
    give(folder, sources, {"a": 0, "b": 1})
    log = Lines()
    manifests = shard(store, folder, log)
    assert decoded == ["a.avi", "b.avi"]
    assert any("its clips are made again" in line for line in log.lines)
    assert shard(LocalStore(tmp_path / "fresh"), folder) == manifests


def test_a_file_is_read_again_only_if_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("fedvsr.federation.owner.fingerprint_cache._MIN_AGE_NS", -1)
    read: list[str] = []
    from fedvsr.federation.owner import fingerprint_cache

    digest_of = fingerprint_cache.file_digest
    monkeypatch.setattr(
        fingerprint_cache, "file_digest", lambda path: (read.append(path.name), digest_of(path))[1]
    )
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())

    def digests() -> list[str]:
        cache = FingerprintCache(tmp_path / "cache.json")
        found = [cache.digest(tmp_path / name) for name in ("a", "b")]
        cache.save()
        return found

    first = digests()
    assert digests() == first
    (tmp_path / "a").write_bytes(b"A")
    second = digests()
    assert read == ["a", "b", "a"]
    assert (second[0] != first[0], second[1] == first[1]) == (True, True)
    (tmp_path / "cache.json").write_text("no JSON")
    assert digests() == second
