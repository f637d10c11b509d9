"""Whatever is stored, training and evaluation see the same pixels, and only what they ask for is read."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fedvsr.config.run import DataConfig
from fedvsr.federation import layout
from fedvsr.federation.owner import cutting, shard_writing
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import LocalVideo, PartOfVideo
from fedvsr.federation.records import write_record
from fedvsr.federation.shard_records import ManifestRecord, ShardedVideo, ShardFile
from fedvsr.progress import Progress
from fedvsr.store.local import LocalStore
from fedvsr.video.patches import PatchSampler
from fedvsr.video.shards import ClipInfo, write_shard

DATA = DataConfig(scale=2, minimum_frames=4, maximum_frames=10, split_shots=False)
FOLDER = layout.training_clips(DATA.dataset)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A video of 30 frames with a key frame every 6."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 6
        for number in range(30):
            frame = np.ascontiguousarray(pixels[2 * number :][:48, number:][:, :64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class Messages(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def shard(store, videos, **changes):
    """Shards videos; returns their clips and the messages."""
    data, messages = DATA.model_copy(update=changes), Messages()
    shard_videos(store, FOLDER, videos, data, "ann", messages)
    return open_clips(store, FOLDER, data), messages.lines


def batches(pairs):
    sampler = PatchSampler(pairs, frames=4, patch_size=16, batch_size=3, seed=5)
    return [sampler.batch(step) for step in range(4)]


@pytest.mark.parametrize("low_resolution", ["stored", "computed"])
@pytest.mark.parametrize("storage", ["raw", "lossless", "source"])
def test_patches_do_not_depend_on_the_storage(tmp_path, film, storage, low_resolution, monkeypatch):
    expected, _ = shard(LocalStore(tmp_path / "raw"), [LocalVideo("film", film)])
    # Several shards a video.
    monkeypatch.setattr(shard_writing, "_MAX_SHARD_BYTES", 7 * 64 * 48 * 3)
    monkeypatch.setattr(shard_writing, "_MAX_SOURCE_BYTES", 1)
    pairs, lines = shard(
        LocalStore(tmp_path / "other"),
        [LocalVideo("film", film)],
        storage=storage,
        low_resolution=low_resolution,
    )
    assert lines == []
    assert [pair.name for pair in pairs] == [pair.name for pair in expected]
    for one, other in zip(batches(pairs), batches(expected), strict=True):
        assert one.clips == other.clips
        np.testing.assert_array_equal(one.ground_truth, other.ground_truth)
        np.testing.assert_array_equal(one.low_resolution, other.low_resolution)
    for pair, other in zip(pairs, expected, strict=True):
        np.testing.assert_array_equal(pair.low_resolution[:], other.low_resolution[:])


def test_a_part_of_a_video_is_never_stored_as_its_stream(tmp_path, film):
    # A group of pictures would have frames of another owner.
    part = PartOfVideo(LocalVideo("film", film), 8, 22)
    pairs, lines = shard(LocalStore(tmp_path), [part], storage="source")
    assert [line for line in lines if "film is stored losslessly" in line]
    assert sum(pair.ground_truth.shape[0] for pair in pairs) == 14
    assert not [key for key in LocalStore(tmp_path).keys("") if key.endswith(".mkv")]


def test_only_the_shards_of_the_patches_are_read(tmp_path, film, monkeypatch):
    monkeypatch.setattr(shard_writing, "_MAX_SHARD_BYTES", 2 * 64 * 48 * 3)
    store = LocalStore(tmp_path)
    pairs, _ = shard(store, [LocalVideo("film", film)])
    read: list[str] = []
    local = LocalStore.local
    monkeypatch.setattr(
        LocalStore, "local", lambda self, key, digest: (read.append(key), local(self, key, digest))[1]
    )
    pairs = open_clips(store, FOLDER, DATA)
    assert read == []
    pairs[1].ground_truth[2:4]
    pairs[1].ground_truth[2:4]
    assert len(read) == 1


def test_the_table_of_contents_does_not_grow_with_the_shards(tmp_path, film, monkeypatch):
    sizes = []
    for frames in (30, 1):
        monkeypatch.setattr(shard_writing, "_MAX_SHARD_BYTES", frames * 64 * 48 * 3)
        store = LocalStore(tmp_path / str(frames))
        shard(store, [LocalVideo("film", film)])
        sizes.append(store.size(layout.manifest(FOLDER, "frames")))
    assert sizes[1] < sizes[0] + 10


@pytest.fixture
def older(tmp_path, film) -> LocalStore:
    """Shards as an older fedvsr made them: one file with the clips of all videos."""
    store = LocalStore(tmp_path / "older")
    new = LocalStore(tmp_path / "new")
    videos = [LocalVideo("film", film)]
    pairs, _ = shard(new, videos)
    for kind in ("frames", "bi-x2"):
        clips = []
        for pair in pairs:
            pixels = np.asarray((pair.ground_truth if kind == "frames" else pair.low_resolution)[:])
            first_frame = int(pair.name.partition("@")[2] or 0)
            frames, height, width = pixels.shape[:3]
            info = ClipInfo(
                name=pair.name,
                frames=frames,
                height=height,
                width=width,
                fps=25,
                source="film",
                first_frame=first_frame,
            )
            clips.append((info, pixels))
        path = tmp_path / "shard"
        info = write_shard(path, kind, clips)
        store.upload(layout.shard(FOLDER, kind, info.digest), path)
        file = ShardFile(
            digest=info.digest, bytes=info.size_bytes, clips=tuple(pair.name for pair in pairs), frames=30
        )
        newer = ManifestRecord.from_bytes(new.read(layout.manifest(FOLDER, kind)), kind)
        entry = ShardedVideo(
            video="film",
            fingerprint=newer.videos[0].fingerprint,
            clips=3,
            frames=30,
            height=48,
            width=64,
        )
        source = newer.source_digest
        if kind != "frames":
            frames_manifest = json.loads(store.read(layout.manifest(FOLDER, "frames")))
            source = shard_writing.bytes_digest(frames_manifest["shards"][0]["digest"].encode())
        write_record(
            store,
            layout.manifest(FOLDER, kind),
            newer.model_copy(
                update={
                    "source_digest": source,
                    "shards": (file,),
                    "videos": (entry,) if kind == "frames" else (),
                }
            ),
        )
    return store


def test_older_shards_are_read_as_they_are(older, tmp_path, film):
    before = {key: older.read(key) for key in older.keys("")}
    pairs, lines = shard(older, [LocalVideo("film", film)])
    assert lines == []
    assert {key: older.read(key) for key in older.keys("")} == before
    expected, _ = shard(LocalStore(tmp_path / "fresh"), [LocalVideo("film", film)])
    for one, other in zip(batches(pairs), batches(expected), strict=True):
        np.testing.assert_array_equal(one.ground_truth, other.ground_truth)
        np.testing.assert_array_equal(one.low_resolution, other.low_resolution)


@pytest.mark.parametrize("changes", [{"storage": "lossless"}, {"degradation": "bd"}])
def test_older_shards_are_converted_without_decoding(older, tmp_path, film, monkeypatch, changes):
    expected, _ = shard(LocalStore(tmp_path / "fresh"), [LocalVideo("film", film)], **changes)
    monkeypatch.setattr(cutting, "VideoReader", lambda *_, **__: pytest.fail("the video was decoded"))
    pairs, _ = shard(older, [LocalVideo("film", film)], **changes)
    for one, other in zip(batches(pairs), batches(expected), strict=True):
        np.testing.assert_array_equal(one.ground_truth, other.ground_truth)
        np.testing.assert_array_equal(one.low_resolution, other.low_resolution)
