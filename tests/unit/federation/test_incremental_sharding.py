"""New shards after videos changed: the same bytes as from nothing, and only what changed is decoded."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedvsr.config.run import DataConfig
from fedvsr.errors import DataError
from fedvsr.federation import layout
from fedvsr.federation.owner import cutting
from fedvsr.federation.owner.clips import open_clips
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


def test_a_damaged_shard_is_refused_and_made_again_after_it_was_deleted(sources, tmp_path, decoded):
    store, folder = LocalStore(tmp_path / "store"), tmp_path / "videos"
    give(folder, sources, {"a": 0, "b": 1})
    manifests = shard(store, folder)
    (video, _) = manifests.ground_truth.videos
    place = layout.sharded_video(FOLDER, "frames", manifests.ground_truth.identity_of(video))
    (key,) = [key for key in store.keys(place) if key.endswith(".safetensors")]
    path = Path(store.uri) / key
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    clip, other = open_clips(store, FOLDER, DATA)[0], open_clips(store, FOLDER, DATA)[-1]
    with pytest.raises(DataError, match="delete it and run the step that wrote it again"):
        clip.ground_truth[:1]
    assert other.ground_truth[:1].shape == (1, 32, 48, 3)
    path.unlink()
    decoded.clear()
    log = Lines()
    assert shard(store, folder, log) == manifests
    assert decoded == ["a.avi"]
    assert log.lines == ["ann: some of its shards are missing; they are made again"]


def test_a_sharding_that_was_cut_off_goes_on_where_it_ended(sources, tmp_path, decoded, monkeypatch):
    store, folder = LocalStore(tmp_path / "store"), tmp_path / "videos"
    give(folder, sources, {"a": 0, "b": 1, "c": 2})

    class Stopping(Lines):
        @contextmanager
        def stage(self, name, total):
            def advance(done, text=""):
                if (name, done) == ("decode", 2):
                    raise KeyboardInterrupt

            yield advance

    with pytest.raises(KeyboardInterrupt):
        shard(store, folder, Stopping())
    decoded.clear()
    manifests = shard(store, folder)
    assert decoded == ["c.avi"]
    fresh = LocalStore(tmp_path / "fresh")
    assert shard(fresh, folder) == manifests
    assert sorted(store.keys("")) == sorted(fresh.keys(""))


def test_other_videos_shards_are_not_touched(sources, tmp_path):
    store, folder = LocalStore(tmp_path / "store"), tmp_path / "videos"
    give(folder, sources, {"a": 0, "b": 1})
    shard(store, folder)
    before = {key: (Path(store.uri) / key).stat().st_mtime_ns for key in store.keys("") if "/videos/" in key}
    give(folder, sources, {"a": 0, "b": 1, "c": 2})
    shard(store, folder)
    after = {key: (Path(store.uri) / key).stat().st_mtime_ns for key in store.keys("")}
    assert before.items() <= after.items()


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
