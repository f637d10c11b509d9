"""Videos of any name that a file system accepts: from the upload to shards, records and pictures."""

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from fedvsr.config.run import DataConfig
from fedvsr.experiment.results import file_name
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.owner.names import ClipNames, name_videos
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.uploading import upload_videos
from fedvsr.federation.owner.videos import local_videos, stored_videos
from fedvsr.federation.records import EvaluationRecord
from fedvsr.scoring.clip_scores import ClipScores
from fedvsr.scoring.details import Detail, draw_details
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.store.s3 import S3Store
from fedvsr.video.patches import PatchSampler
from fedvsr.video.shards import RESERVED_NAME

DATA = DataConfig(scale=2, minimum_frames=2, maximum_frames=2, split_shots=False)
CLIPS = layout.training_clips(DATA.dataset)
# As a test writes them: as text, because Python shows bytes that are not UTF-8 as surrogates.
NAMES = [
    "12:30:05",
    "file:x",
    "http:",
    "%41",
    "a b",
    " leading and trailing ",
    "caf\u00e9",  # é as one character …
    "cafe\u0301",  # … and as two
    "日本 😀",
    "[red]brackets[]",
    "'single' \"double\"",
    "#1",
    "why?",
    "back\\slash",
    "new\nline",
    "tab\tand \x1b[2J",
    "$\\frac$",
    "a&b+c=d",
    "*",
    "-rf",
    "UPPER",
    "upper",
    "trailing.",
    "a@2",
    RESERVED_NAME,
    "x" * 251,
    "é" * 125,
    os.fsdecode(b"not \xff UTF-8"),
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 4 frames, 32×32: two clips."""
    path = tmp_path_factory.mktemp("video") / "video.avi"
    source = ["-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=0.16", "-c:v", "mjpeg"]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True)
    return path


def write_videos(folder: Path, names: Sequence[str], video: Path) -> Path:
    folder.mkdir()
    for name in names:
        shutil.copyfile(video, folder / name)
    return folder


def check_names(store: Store, folder: Path, count: int) -> None:
    """Takes a folder's videos through upload, shards, training and the records of an evaluation."""
    upload_videos(store, layout.RAW_VIDEOS, [folder])
    videos = stored_videos(store, layout.RAW_VIDEOS)
    manifests = shard_videos(store, CLIPS, videos, DATA, "ann")
    assert manifests.skipped == ()
    pairs = open_clips(store, CLIPS, DATA)
    names = [pair.name for pair in pairs]
    assert len(set(names)) == len(names) == 2 * count
    assert {video.name for video in videos} == {video.name for video in local_videos(folder)}
    sampler = PatchSampler(pairs, frames=2, patch_size=16, batch_size=2 * count, seed=0)
    assert sorted(sampler.epoch_batch(0, 0).clips) == sorted(names)
    check_evaluation(names)


def check_evaluation(names: Sequence[str]) -> None:
    scores = tuple(
        ClipScores(clip=name, frames=2, psnr_rgb=30, psnr_y=30, ssim_rgb=0.9, ssim_y=0.9) for name in names
    )
    record = EvaluationRecord(
        run="test",
        round=1,
        model="fastvsr",
        global_digest="0",
        dataset_digest="0",
        crop_border=0,
        scores=scores,
        bicubic=scores,
        seconds=1,
    )
    assert EvaluationRecord.from_bytes(record.to_bytes(), "evaluation.json") == record
    for name in names:
        path = PurePosixPath("folder", f"{file_name(name)}-x4.mp4")
        assert path.parent == PurePosixPath("folder")
        assert len(path.name.encode()) <= 210
        assert path.name.isprintable()


# Through everything.


def test_all_names_at_once_in_a_folder(tmp_path, video):
    folder = write_videos(tmp_path / "videos", [f"{name}.avi" for name in NAMES], video)
    check_names(LocalStore(tmp_path / "store"), folder, len(NAMES))


def test_all_names_at_once_in_a_bucket(tmp_path, video, bucket, s3_environment):
    # moto itself does not find a key with a line break.
    names = [name for name in NAMES if "\n" not in name]
    folder = write_videos(tmp_path / "videos", [f"{name}.avi" for name in names], video)
    store = S3Store(bucket, "names")
    check_names(store, folder, len(names))
    keys = list(store.keys(layout.RAW_VIDEOS))
    assert "raw/%41.avi" in keys
    assert store.read("raw/a&b+c=d.avi") == video.read_bytes()


@st.composite
def file_names(draw: st.DrawFn) -> str:
    """A name that Linux accepts and that is not hidden."""
    suffix = draw(st.sampled_from([".avi", ".AVI", ".mkv", ".avi.avi", "@2.avi", ".mp4"]))
    text = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)
    bytes_only = st.binary(min_size=1, max_size=40).map(os.fsdecode)
    name = draw(st.one_of(text, bytes_only, st.sampled_from(["a", "A", "a@2"])))
    name = name.replace("/", "_").replace("\0", "_")
    return (f"_{name}" if name.startswith(".") else name) + suffix


@given(names=st.sets(file_names(), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_names(names: set[str], video: Path):
    with tempfile.TemporaryDirectory() as root:
        folder = write_videos(Path(root) / "videos", sorted(names), video)
        # FFmpeg looks at the content, so every suffix is as good as another.
        check_names(LocalStore(Path(root) / "store"), folder, len(names))


# Names are unique.


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.mp4", "b.mp4"], ["a", "b"]),
        (["a.mp4", "a.mkv", "b.mp4"], ["a.mp4", "a.mkv", "b"]),
        (["a.mp4", "A.mp4"], ["a", "A"]),
        (["a.mp4", "a.MP4"], ["a.mp4", "a.MP4"]),
        (["a.mp4", "a.mkv", "a.mp4.mp4"], ["a.mp4", "a.mkv", "a.mp4.mp4"]),
        (["a", "a.mp4"], ["a", "a.mp4"]),
        (["x/a.mp4", "y/a.mp4"], ["x/a", "y/a"]),
        ([os.fsdecode(b"\xff.mp4"), "\\xff.mp4"], ["\\xff.mp4", "\\xff.mp4 (2)"]),
    ],
)
def test_videos_with_the_same_name_keep_their_suffixes(paths, names):
    assert name_videos([PurePosixPath(path) for path in paths]) == names


@given(st.sets(file_names(), max_size=30))
def test_names_of_videos_are_unique_and_valid_text(paths):
    names = name_videos([PurePosixPath(path) for path in sorted(paths)])
    assert len(set(names)) == len(paths)
    assert all(name.encode().decode() == name for name in names)


@given(st.lists(st.text("a@2", min_size=1, max_size=5), unique=True, min_size=1), st.data())
def test_names_of_clips_are_unique(videos, data):
    first_frames = st.sets(st.integers(0, 30), max_size=5).map(sorted)
    clip_names = ClipNames(videos)
    names = [clip_names.name(video, first) for video in videos for first in data.draw(first_frames)]
    assert len(set(names)) == len(names)


def test_naming_thousands_of_videos_compares_no_pairs():
    class CountedName(str):
        """A name that counts how often it is compared."""

        comparisons = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            CountedName.comparisons += 1
            return str.__eq__(self, other)

    class CountedPath(PurePosixPath):
        """A path that has such a name."""

        def as_posix(self) -> str:
            return CountedName(super().as_posix())

    count = 3000
    name_videos([CountedPath(f"{number}") for number in range(count)])
    assert CountedName.comparisons < 10 * count


# What is no video.


def test_hidden_files_posters_and_marks_of_folders_in_a_bucket_are_no_videos(local_store):
    for key in ("a/film.mp4", "a/poster.jpg", "a/._film.mp4", ".trash/b.mp4", "c/0.png"):
        local_store.write(f"raw/{key}", b"x")
    names = [video.name for video in stored_videos(local_store, layout.RAW_VIDEOS)]
    assert names == ["a/film", "c"]


def test_a_key_with_an_empty_part_is_left_out(local_store, video, monkeypatch):
    local_store.upload("raw/a.avi", video)

    def keys(self: LocalStore, prefix: str) -> Iterator[str]:
        yield from ("raw//a.avi", "raw/a.avi", "raw/b.mp4/")

    monkeypatch.setattr(LocalStore, "keys", keys)
    manifests = shard_videos(local_store, CLIPS, stored_videos(local_store, layout.RAW_VIDEOS), DATA, "ann")
    (skipped,) = manifests.skipped
    assert skipped.reason.startswith("its key 'raw//a.avi' has an empty part")
    assert manifests.ground_truth.clips == 2


# Pictures and files.


def test_a_label_of_any_name_can_be_drawn():
    frame = np.zeros((8, 8, 3), np.uint8)
    names = name_videos([PurePosixPath(name) for name in NAMES])
    file = io.BytesIO()
    draw_details([Detail(name, frame, frame, frame, 1, 1) for name in names], "fastvsr", file)
    assert file.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("eval_018", "eval_018"),
        ("folder/12:30:05@16", "12_30_05@16"),
        (" a b ", "a b"),
        ("..", "clip"),
        ("new\nline", "new_line"),
        ("CON. ", "CON"),
        ("é" * 300, "é" * 100),
    ],
)
def test_a_results_file_has_a_name_that_every_file_system_accepts(clip, name):
    assert file_name(clip) == name
