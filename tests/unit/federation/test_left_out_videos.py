"""A video that cannot be used is left out with its reason, and stops nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from fedvsr.config.run import DataConfig
from fedvsr.errors import StoreError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner import cutting, shard_writing
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.uploading import upload_videos
from fedvsr.federation.owner.videos import local_videos, stored_videos
from fedvsr.federation.shard_records import Manifests, ShardSummary
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.video.decode import read_frames

DATA = DataConfig(scale=2, minimum_frames=4, maximum_frames=8, split_shots=False)
STRICT = DATA.model_copy(update={"strict": True})
SKIPPING = DATA.model_copy(update={"damaged_frames": "skip"})
CLIPS = layout.training_clips(DATA.dataset)
OLDER_SETTINGS_DIGEST = "4caf1a2b9a914f25cf0466d479bd0096599cadc7a18ed8ad5fa7057744867a11"


class Messages(Progress):
    """Collects the messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def whole_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 20 frames, 64×48, whose frames do not depend on each other."""
    path = tmp_path_factory.mktemp("whole") / "whole.avi"
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.8", "-c:v", "mjpeg", "-q:v", "2"]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True)
    return path


@pytest.fixture
def folder(tmp_path: Path, whole_video: Path) -> Path:
    """A folder with one video that can be used, and many that cannot."""
    root = tmp_path / "videos"
    whole = whole_video.read_bytes()
    for name, data in {
        "a whole one.avi": whole,
        "cut short.avi": whole[: len(whole) * 4 // 5],
        "damaged at its end.avi": damaged_at(whole, 0.8),
        "empty.mp4": b"",
        "text.mp4": b"shopping list\n" * 100,
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    write_images(root / "short", frames=3, size=16)
    write_images(root / "tiny", frames=6, size=1)
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "pipe.mp4")
    return root


def damaged_at(video: bytes, position: float) -> bytes:
    """Returns a video with zeros in the middle of one frame."""
    start = int(len(video) * position)
    return video[:start] + bytes(300) + video[start + 300 :]


def write_images(folder: Path, frames: int, size: int) -> None:
    folder.mkdir(parents=True)
    for index in range(frames):
        assert cv2.imwrite(str(folder / f"{index}.png"), np.full((size, size, 3), 20 * index, np.uint8))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def shard(store: Store, folder: Path, data: DataConfig = DATA) -> tuple[Manifests, list[str]]:
    """Shards a folder; returns the manifests and the messages."""
    messages = Messages()
    return shard_videos(store, CLIPS, local_videos(folder), data, "ann", messages), messages.lines


# What is left out, and how that is told.


def test_only_the_clips_of_whole_videos_are_in_the_shards(store, folder, whole_video):
    shard(store, folder)
    pairs = open_clips(store, CLIPS, DATA)
    assert [pair.name for pair in pairs] == ["a whole one", "a whole one@8", "a whole one@16"]
    frames = np.concatenate([pair.ground_truth for pair in pairs])
    np.testing.assert_array_equal(frames, read_frames(whole_video))


def test_every_video_that_is_left_out_is_recorded_and_told_with_its_reason(store, folder):
    manifests, lines = shard(store, folder)
    reasons = {entry.video: entry.reason for entry in manifests.skipped}
    assert list(reasons) == [
        "cut short",
        "damaged at its end",
        "empty",
        "gone",
        "pipe",
        "short",
        "text",
        "tiny",
    ]
    assert reasons["damaged at its end"].startswith("frame 15 cannot be decoded")
    assert reasons["gone"] == "it cannot be read (No such file or directory)"
    assert reasons["short"].startswith("has no shot of data.minimum_frames = 4 frames")
    assert reasons["tiny"].startswith("frames of 1×1 pixels are smaller than the scale 2")
    assert lines == [f"ann: {video} is left out: {reason}" for video, reason in reasons.items()]
    assert str(folder) not in "".join(reasons.values())


def test_the_summary_that_leaves_a_client_has_only_the_number(store, folder):
    manifests, _ = shard(store, folder)
    summary = ShardSummary.of(manifests)
    assert (summary.clips, summary.frames, summary.skipped) == (3, 20, 8)
    assert set(summary.model_dump()) == {"version", "clips", "frames", "bytes", "digest", "skipped"}
    # A clip that is too small for the run's patches is not trained on, so its video counts too.
    assert ShardSummary.of(manifests, 49).skipped == 9


def test_sharding_again_decodes_nothing_and_tells_again(store, folder, monkeypatch):
    manifests, lines = shard(store, folder)
    monkeypatch.setattr(cutting, "VideoReader", lambda *arguments, **options: pytest.fail("decoded"))
    monkeypatch.setattr(LocalStore, "write", lambda *arguments: pytest.fail("wrote"))
    again, lines_again = shard(store, folder)
    assert again == manifests
    assert lines_again == [
        *lines[:3],
        f"ann: 4 more videos are left out; {store.uri}/shards/default/frames/manifest.json lists them",
        lines[-1],
    ]


def test_three_shardings_and_one_of_uploaded_videos_give_the_same_shards(tmp_path, folder):
    # Neither can be uploaded.
    (folder / "gone.mp4").unlink()
    (folder / "pipe.mp4").unlink()
    manifests = [shard(LocalStore(tmp_path / f"store-{number}"), folder)[0] for number in range(3)]
    assert manifests[0] == manifests[1] == manifests[2]
    store = LocalStore(tmp_path / "uploaded")
    upload_videos(store, layout.RAW_VIDEOS, [folder])
    uploaded = shard_videos(store, CLIPS, stored_videos(store, layout.RAW_VIDEOS), DATA, "ann")
    assert uploaded.ground_truth.digest == manifests[0].ground_truth.digest
    assert [(entry.video, entry.reason) for entry in uploaded.skipped] == [
        (entry.video, entry.reason) for entry in manifests[0].skipped
    ]


def test_leaving_a_video_out_and_removing_it_give_the_same_clips(store, folder, tmp_path):
    shutil.rmtree(folder / "tiny")  # which is left out at the low resolution only
    shard(store, folder)
    alone = LocalStore(tmp_path / "alone")
    shard(alone, folder / "a whole one.avi")
    assert dataset_digest(store, CLIPS, DATA) == dataset_digest(alone, CLIPS, DATA)


def test_a_video_that_was_repaired_is_used(store, folder, whole_video):
    before, _ = shard(store, folder)
    (folder / "empty.mp4").unlink()
    (folder / "empty.avi").write_bytes(whole_video.read_bytes())
    after, lines = shard(store, folder)
    assert {entry.video for entry in before.skipped} - {entry.video for entry in after.skipped} == {"empty"}
    assert after.low_resolution.clips == 2 * before.low_resolution.clips
    assert lines[0] == "ann: its videos changed: 1 changed (empty); only these are sharded"


def test_added_changed_and_removed_videos_are_told(store, tmp_path):
    folder = tmp_path / "images"
    for name in ("a", "b", "c"):
        write_images(folder / name, frames=4, size=16)
    shard(store, folder)
    (folder / "b" / "3.png").write_bytes((folder / "b" / "0.png").read_bytes())
    for image in (folder / "c").iterdir():
        image.unlink()
    write_images(folder / "d", frames=4, size=16)
    _, lines = shard(store, folder)
    assert lines == [
        "ann: its videos changed: 1 added (d), 1 changed (b), 1 removed (c); only these are sharded"
    ]
    _, lines = shard(store, folder, DATA.model_copy(update={"maximum_frames": 4}))
    assert lines == ["ann: its shards were made with other settings; the shards of 'default' are made again"]


def test_a_video_that_is_too_small_for_one_scale_is_used_for_another(store, tmp_path):
    write_images(tmp_path / "videos" / "large", frames=4, size=16)
    write_images(tmp_path / "videos" / "small", frames=4, size=3)
    for scale, names in ((2, ["large", "small"]), (4, ["large"]), (3, ["large", "small"])):
        data = DATA.model_copy(update={"scale": scale})
        shard(store, tmp_path / "videos", data)
        assert [pair.name for pair in open_clips(store, CLIPS, data)] == names


def test_the_default_settings_have_the_digest_that_older_shards_have(store, whole_video):
    data = DataConfig()
    manifests, _ = shard(store, whole_video, data)
    # Computed before there were data.damaged_frames and data.storage.
    assert manifests.ground_truth.settings_digest == OLDER_SETTINGS_DIGEST


# Errors.


def test_if_no_video_can_be_used_the_error_has_the_first_reasons_and_the_count(store, folder):
    (folder / "a whole one.avi").unlink()
    # The second time, the ground truth of the tiny video is current.
    for _ in range(2):
        with pytest.raises(VideoError) as caught:
            shard(store, folder)
        message = str(caught.value)
        assert message.startswith("ann: 0 of 8 videos can be used: cut short: ")
        assert message.endswith("; and 5 more")


def test_if_every_video_is_too_small_the_error_says_so(store, tmp_path):
    write_images(tmp_path / "videos" / "tiny", frames=6, size=1)
    with pytest.raises(VideoError, match=r"^ann: 0 of 1 videos can be used: tiny: frames of 1×1 pixels"):
        shard(store, tmp_path / "videos")


@pytest.mark.parametrize("current", [False, True])
def test_strict_makes_the_first_bad_video_an_error(store, folder, current):
    if current:
        shard(store, folder)
    with pytest.raises(VideoError, match=r"^cut short: frame 1\d cannot be decoded"):
        shard(store, folder, STRICT)
    # The videos before it are done, and are not decoded again.
    assert current or not [key for key in store.keys("") if key.endswith("manifest.json")]


def test_strict_refuses_a_video_that_is_too_small(store, tmp_path):
    write_images(tmp_path / "videos" / "large", frames=4, size=16)
    write_images(tmp_path / "videos" / "tiny", frames=4, size=1)
    with pytest.raises(VideoError, match=r"^tiny: frames of 1×1 pixels"):
        shard(store, tmp_path / "videos", STRICT)


def test_strict_and_the_default_give_the_same_shards_of_whole_videos(tmp_path, whole_video):
    stores = [LocalStore(tmp_path / name) for name in ("default", "strict")]
    assert shard(stores[0], whole_video) == shard(stores[1], whole_video, STRICT)


def test_a_full_disk_is_not_taken_for_a_bad_video(store, whole_video, monkeypatch):
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cutting.np, "ascontiguousarray", fail)
    with pytest.raises(
        StoreError, match=r"the clips of 'whole' cannot be written \(No space left on device\)"
    ):
        shard(store, whole_video)
    assert list(store.keys("")) == []


def test_shards_are_bounded_and_divide_clips(store, whole_video, monkeypatch):
    whole, _ = shard(store, whole_video)
    pixels = [np.asarray(pair.ground_truth) for pair in open_clips(store, CLIPS, DATA)]
    monkeypatch.setattr(shard_writing, "_MAX_SHARD_BYTES", 3 * 64 * 48 * 3)
    other = LocalStore(Path(store.uri) / "other")
    manifests, _ = shard(other, whole_video)
    (video,) = manifests.ground_truth.videos
    # 20 frames, 3 in a shard, and a shard may have the end of one clip and the start of the next.
    assert (whole.ground_truth.videos[0].shards, video.shards, video.clips) == (1, 7, 3)
    for pair, expected in zip(open_clips(other, CLIPS, DATA), pixels, strict=True):
        np.testing.assert_array_equal(pair.ground_truth, expected)
        np.testing.assert_array_equal(pair.ground_truth[2:4, 5:9, 30:], expected[2:4, 5:9, 30:])


# Damaged frames.


@pytest.fixture
def damaged_video(tmp_path: Path, whole_video: Path) -> Path:
    """The whole video with frame 15 damaged."""
    path = tmp_path / "damaged" / "film.avi"
    path.parent.mkdir()
    path.write_bytes(damaged_at(whole_video.read_bytes(), 0.8))
    return path


def test_no_clip_has_a_jump_at_a_damaged_frame(store, damaged_video, whole_video):
    manifests, lines = shard(store, damaged_video, SKIPPING)
    pairs = open_clips(store, CLIPS, SKIPPING)
    frames = read_frames(whole_video)
    assert [pair.name for pair in pairs] == ["film", "film@8", "film@16"]
    for pair, (first, stop) in zip(pairs, ((0, 8), (8, 15), (16, 20)), strict=True):
        np.testing.assert_array_equal(pair.ground_truth, frames[first:stop])
    assert [(entry.video, entry.damaged_frames) for entry in manifests.damaged] == [("film", 1)]
    assert lines == ["ann: 1 damaged frames of film are left out"]


@pytest.mark.parametrize("damaged", [[0], [0, 1], [2], [2, 3, 7], [9], [8, 9], list(range(9))])
def test_parts_between_damaged_images_are_cut_separately(store, tmp_path, damaged):
    write_images(tmp_path / "images", frames=10, size=16)
    frames = read_frames(tmp_path / "images")
    for number in damaged[damaged[0] == 0 :]:
        (tmp_path / "images" / f"{number}.png").write_bytes(b"damaged")
    data = SKIPPING.model_copy(update={"minimum_frames": 1, "maximum_frames": 100})
    damaged_images = damaged[damaged[0] == 0 :]
    shard(store, tmp_path / "images", data)
    shown = []
    for pair in open_clips(store, CLIPS, data):
        first = int(pair.name.partition("@")[2] or 0)
        stop = first + pair.ground_truth.shape[0]
        np.testing.assert_array_equal(pair.ground_truth, frames[first:stop])
        shown += range(first, stop)
    assert shown == [number for number in range(10) if number not in damaged_images]


def test_without_damage_both_settings_give_the_same_shards_under_other_manifests(tmp_path, whole_video):
    first, _ = shard(LocalStore(tmp_path / "error"), whole_video)
    second, _ = shard(LocalStore(tmp_path / "skip"), whole_video, SKIPPING)
    assert first.ground_truth.digest == second.ground_truth.digest
    assert first.ground_truth.settings_digest != second.ground_truth.settings_digest
