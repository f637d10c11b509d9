"""The shard step finds exactly the videos that were uploaded."""

import pytest

from fedvsr.errors import VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.uploading import upload_videos
from fedvsr.federation.owner.videos import local_videos, stored_videos
from fedvsr.store.local import LocalStore


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "bucket")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "videos"
    for name in ("b.mp4", "deep/c.avi", "frames/00000001.png", "frames/00000000.png", "frames/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_a_folder_has_the_same_videos_on_this_machine_and_in_the_store(store, folder):
    keys = upload_videos(store, layout.RAW_VIDEOS, [folder])
    assert sorted(keys) == [
        "raw/b.mp4",
        "raw/deep/c.avi",
        "raw/frames/00000000.png",
        "raw/frames/00000001.png",
    ]
    assert sorted(store.keys("")) == sorted(keys)
    assert store.read("raw/deep/c.avi") == b"deep/c.avi"
    stored_names = [video.name for video in stored_videos(store, layout.RAW_VIDEOS)]
    local_names = [video.name for video in local_videos(folder)]
    assert stored_names == local_names == ["b", "deep/c", "frames"]


def test_single_videos_keep_their_own_names(store, folder):
    upload_videos(store, layout.HELD_OUT_VIDEOS, [folder / "deep" / "c.avi", folder / "frames"])
    names = [video.name for video in stored_videos(store, layout.HELD_OUT_VIDEOS)]
    assert names == ["c", "frames"]


def test_two_videos_with_the_same_name_are_refused_before_anything_is_copied(store, folder, tmp_path):
    other = tmp_path / "b.mp4"
    other.write_bytes(b"another")
    with pytest.raises(VideoError, match=r"videos/b\.mp4 and .*/b\.mp4 would both be called 'b\.mp4'"):
        upload_videos(store, layout.RAW_VIDEOS, [folder, other])
    assert not list(store.keys(""))


def test_a_changed_video_replaces_the_stored_one(store, folder):
    upload_videos(store, layout.RAW_VIDEOS, [folder])
    (folder / "b.mp4").write_bytes(b"B.MP4")
    upload_videos(store, layout.RAW_VIDEOS, [folder])
    assert store.read("raw/b.mp4") == b"B.MP4"
