"""From videos to shards: disjoint clients, and nothing done twice."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedvsr.config.run import DataConfig
from fedvsr.errors import ConfigError, NotFoundError, ShardError, StoreError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.owner.sources import LocalSource
from fedvsr.federation.run.rounds import Videos, shard_all
from fedvsr.store.local import LocalStore
from fedvsr.store.workspace import Workspace

DATA = DataConfig(scale=2, minimum_frames=3, split_shots=False)
CLIPS = layout.training_clips(DATA.dataset)


@pytest.fixture
def save_video(tmp_path: Path, make_clip):
    """Writes a clip as a folder of frames."""

    def save(name: str, seed: int = 0, frames: int = 4, size: int = 24) -> LocalSource:
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        for index, frame in enumerate(make_clip(seed, frames, size)):
            assert cv2.imwrite(str(folder / f"{index:08d}.png"), frame[..., ::-1])
        return LocalSource(name, folder)

    return save


@pytest.fixture
def videos(save_video) -> Videos:
    clients = {"ann": [save_video("a", 1)], "bob": [save_video("b", 2), save_video("c", 3)]}
    return Videos(clients, [save_video("held-out", 4)])


def test_clips_are_the_videos_frames_and_their_degradation(workspace: Workspace, videos, make_clip):
    shard_all(workspace, videos, DATA)
    pairs = open_clips(workspace.client("bob"), CLIPS, DATA)
    assert [pair.name for pair in pairs] == ["b", "c"]
    np.testing.assert_array_equal(pairs[0].ground_truth, make_clip(2, 4, 24))
    assert pairs[0].degraded.shape == (4, 12, 12, 3)
    held_out = open_clips(workspace.federation(), layout.evaluation_clips(DATA.dataset), DATA)
    assert [pair.name for pair in held_out] == ["held-out"]


def test_a_clients_videos_are_in_its_own_store_alone(workspace: Workspace, videos):
    shard_all(workspace, videos, DATA)
    assert not [key for key in workspace.federation().keys("") if key.startswith("shards/")]
    assert len(open_clips(workspace.client("ann"), CLIPS, DATA)) == 1


def test_sharding_again_writes_nothing(workspace: Workspace, videos, monkeypatch):
    shard_all(workspace, videos, DATA)
    monkeypatch.setattr(LocalStore, "_replace", lambda *arguments: pytest.fail("wrote"))
    shard_all(workspace, videos, DATA)


@pytest.mark.parametrize("again", [DATA.model_copy(update={"maximum_frames": 3}), DATA])
def test_another_setting_or_another_frame_gives_another_dataset(workspace, videos, again):
    shard_all(workspace, videos, DATA)
    before = dataset_digest(workspace.client("ann"), CLIPS, DATA)
    if again == DATA:
        frame = videos.clients["ann"][0].path / "00000001.png"
        assert cv2.imwrite(str(frame), np.zeros((24, 24, 3), np.uint8))
    shard_all(workspace, videos, again)
    assert dataset_digest(workspace.client("ann"), CLIPS, DATA) != before


@pytest.mark.parametrize("owner", ["bob", "evaluation_videos"])
def test_a_video_may_have_one_owner_only(workspace: Workspace, save_video, owner: str, tmp_path: Path):
    shared, other = save_video("shared"), save_video("other", 1)
    # The same folder by another name.
    link = tmp_path / "link"
    link.symlink_to(shared.path)
    again = LocalSource("again", link)
    clients = {"ann": [shared], "bob": [again] if owner == "bob" else [other]}
    with pytest.raises(
        ConfigError, match=rf"^clients: '.*link' is not allowed; ann and {owner} may not have"
    ):
        shard_all(workspace, Videos(clients, [again] if owner != "bob" else [other]), DATA)
    assert list(workspace.client("ann").keys("")) == []


def test_a_video_that_is_too_short_is_told_and_leaves_no_manifest(workspace: Workspace, save_video):
    short = Videos({"ann": [save_video("short", frames=2)]}, [save_video("held-out")])
    with pytest.raises(VideoError, match=r"short has no shot of data\.minimum_frames = 3 frames"):
        shard_all(workspace, short, DATA)
    assert list(workspace.client("ann").keys("")) == []


def test_a_full_disk_leaves_no_manifest_and_sharding_goes_on_when_there_is_room(
    workspace: Workspace, videos, monkeypatch
):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"No space left on device"):
            shard_all(workspace, videos, DATA)
    assert list(workspace.client("ann").keys("")) == []
    shard_all(workspace, videos, DATA)
    assert len(open_clips(workspace.client("bob"), CLIPS, DATA)) == 2


def test_clips_that_were_never_made_are_not_found(workspace: Workspace):
    with pytest.raises(NotFoundError, match=r"shards/default/frames/manifest\.json"):
        open_clips(workspace.client("ann"), CLIPS, DATA)


def test_low_resolution_that_lacks_a_clip_is_told(workspace: Workspace, videos, save_video):
    shard_all(workspace, videos, DATA)
    own = workspace.client("ann")
    low = own.read(layout.manifest(CLIPS, "bi-x2"))
    more = Videos({"ann": [*videos.clients["ann"], save_video("late", 9)]}, videos.evaluation)
    shard_all(workspace, more, DATA)
    own.write(layout.manifest(CLIPS, "bi-x2"), low)
    with pytest.raises(ShardError, match=r"bi-x2 lacks clip 'late'; run the shard step again"):
        open_clips(own, CLIPS, DATA)
