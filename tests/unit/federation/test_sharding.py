"""Videos become shards once, in their owner's store only."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError, NotFoundError, ShardError, StoreError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.owner.videos import FederationVideos, LocalVideo, PartOfVideo
from fedvsr.federation.run.rounds import shard_all
from fedvsr.store.local import LocalStore
from fedvsr.store.workspace import Workspace

DATA = DataConfig(scale=2, minimum_frames=3, split_shots=False)
CLIPS = layout.training_clips(DATA.dataset)


@pytest.fixture
def save_video(tmp_path: Path, make_clip):
    """Writes a clip as a folder of frames and returns it as a video."""

    def save(name: str, seed: int = 0, frames: int = 4, size: int = 24) -> LocalVideo:
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        for index, frame in enumerate(make_clip(seed, frames, size)):
            assert cv2.imwrite(str(folder / f"{index:08d}.png"), frame[..., ::-1])
        return LocalVideo(name, folder)

    return save


@pytest.fixture
def videos(save_video) -> FederationVideos:
    clients = {"ann": [save_video("a", 1)], "bob": [save_video("b", 2), save_video("c", 3)]}
    return FederationVideos(clients, [save_video("held-out", 4)])


def test_clips_have_the_videos_frames_and_their_low_resolution(workspace: Workspace, videos, make_clip):
    shard_all(workspace, videos, DATA)
    pairs = open_clips(workspace.client("bob"), CLIPS, DATA)
    assert [pair.name for pair in pairs] == ["b", "c"]
    np.testing.assert_array_equal(pairs[0].ground_truth, make_clip(2, 4, 24))
    assert pairs[0].low_resolution.shape == (4, 12, 12, 3)
    held_out = open_clips(workspace.federation(), layout.held_out_clips(DATA.dataset), DATA)
    assert [pair.name for pair in held_out] == ["held-out"]


def test_two_clients_share_a_video(workspace: Workspace, save_video, make_clip):
    video = save_video("a", 1, frames=9)
    parts = {"ann": [PartOfVideo(video, 0, 4)], "bob": [PartOfVideo(video, 4, None)]}
    videos = FederationVideos(parts, [save_video("held-out", 4)])
    shard_all(workspace, videos, DATA)
    for client, frames in (("ann", slice(0, 4)), ("bob", slice(4, 9))):
        (pair,) = open_clips(workspace.client(client), CLIPS, DATA)
        np.testing.assert_array_equal(pair.ground_truth, make_clip(1, 9, 24)[frames])
    # The next split gives ann more of it.
    parts["ann"], parts["bob"] = [PartOfVideo(video, 0, 6)], [PartOfVideo(video, 6, None)]
    shard_all(workspace, videos, DATA)
    (pair,) = open_clips(workspace.client("ann"), CLIPS, DATA)
    np.testing.assert_array_equal(pair.ground_truth, make_clip(1, 9, 24)[:6])


@pytest.mark.parametrize(("first", "stop"), [(3, None), (0, 1), (2, 4), (0, None)])
def test_two_clients_may_not_have_the_same_frame(workspace: Workspace, save_video, first, stop):
    video = save_video("a", 1, frames=9)
    parts = {"ann": [PartOfVideo(video, 0, 4)], "bob": [PartOfVideo(video, first, stop)]}
    with pytest.raises(ConfigError, match="ann and bob may not have the same video"):
        shard_all(workspace, FederationVideos(parts, [save_video("held-out", 4)]), DATA)


def test_only_damage_in_a_clients_part_of_a_video_counts(workspace: Workspace, save_video, make_clip):
    video = save_video("a", 1, frames=12)
    (video.path / "00000002.png").write_bytes(b"not an image")
    (video.path / "00000008.png").write_bytes(b"not an image")
    data = DATA.model_copy(update={"damaged_frames": "skip"})
    parts = {"ann": [PartOfVideo(video, 8, 12)], "bob": [PartOfVideo(video, 0, 8)]}
    shards = shard_all(workspace, FederationVideos(parts, [save_video("held-out", 4)]), data)
    assert [shards.clients[name].ground_truth.videos[0].damaged_frames for name in ("ann", "bob")] == [1, 1]
    for client, frames in {"ann": slice(9, 12), "bob": slice(3, 8)}.items():
        pair = open_clips(workspace.client(client), CLIPS, data)[0]
        np.testing.assert_array_equal(pair.ground_truth, make_clip(1, 12, 24)[frames])


def test_a_clients_shards_are_only_in_its_own_store(workspace: Workspace, videos):
    shard_all(workspace, videos, DATA)
    assert not [key for key in workspace.federation().keys("") if key.startswith("shards/")]
    assert len(open_clips(workspace.client("ann"), CLIPS, DATA)) == 1


def test_sharding_the_same_videos_again_writes_nothing(workspace: Workspace, videos, monkeypatch):
    shard_all(workspace, videos, DATA)
    monkeypatch.setattr(LocalStore, "_replace", lambda *arguments: pytest.fail("something was written"))
    shard_all(workspace, videos, DATA)


@pytest.mark.parametrize("second_data", [DATA.model_copy(update={"maximum_frames": 3}), DATA])
def test_a_changed_setting_or_frame_changes_the_digest(workspace, videos, second_data):
    shard_all(workspace, videos, DATA)
    before = dataset_digest(workspace.client("ann"), CLIPS, DATA)
    if second_data == DATA:
        frame = videos.clients["ann"][0].path / "00000001.png"
        assert cv2.imwrite(str(frame), np.zeros((24, 24, 3), np.uint8))
    shard_all(workspace, videos, second_data)
    assert dataset_digest(workspace.client("ann"), CLIPS, DATA) != before


@pytest.mark.parametrize("owner", ["bob", "evaluation_videos"])
def test_a_video_of_two_owners_is_refused(workspace: Workspace, save_video, owner: str, tmp_path: Path):
    shared, other = save_video("shared"), save_video("other", 1)
    # The same folder under another name.
    link = tmp_path / "link"
    link.symlink_to(shared.path)
    duplicate = LocalVideo("duplicate", link)
    clients = {"ann": [shared], "bob": [duplicate] if owner == "bob" else [other]}
    held_out = [other] if owner == "bob" else [duplicate]
    with pytest.raises(
        ConfigError, match=rf"^clients: '.*link' is not allowed; ann and {owner} may not have"
    ):
        shard_all(workspace, FederationVideos(clients, held_out), DATA)
    assert list(workspace.client("ann").keys("")) == []


def test_a_video_that_is_too_short_is_an_error_and_leaves_no_manifest(workspace: Workspace, save_video):
    short = FederationVideos({"ann": [save_video("short", frames=2)]}, [save_video("held-out")])
    with pytest.raises(VideoError, match=r"short: has no shot of data\.minimum_frames = 3 frames"):
        shard_all(workspace, short, DATA)
    assert list(workspace.client("ann").keys("")) == []


def test_a_full_disk_leaves_no_manifest_and_sharding_can_be_repeated(
    workspace: Workspace, videos, monkeypatch
):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match=r"No space left on device"):
            shard_all(workspace, videos, DATA)
    assert list(workspace.client("ann").keys("")) == []
    shard_all(workspace, videos, DATA)
    assert len(open_clips(workspace.client("bob"), CLIPS, DATA)) == 2


def test_opening_clips_without_shards_is_an_error(workspace: Workspace):
    with pytest.raises(NotFoundError, match=r"shards/default/frames/manifest\.json"):
        open_clips(workspace.client("ann"), CLIPS, DATA)


def test_a_clip_without_low_resolution_is_an_error(workspace: Workspace, videos, save_video):
    shard_all(workspace, videos, DATA)
    store = workspace.client("ann")
    old = {key: store.read(key) for key in store.keys(f"{CLIPS}bi-x2/")}
    more_videos = FederationVideos({"ann": [*videos.clients["ann"], save_video("late", 9)]}, videos.held_out)
    shard_all(workspace, more_videos, DATA)
    for key, data in old.items():
        store.write(key, data)
    with pytest.raises(ShardError, match=r"bi-x2 lacks clip 'late'; run the shard step again"):
        open_clips(store, CLIPS, DATA)
