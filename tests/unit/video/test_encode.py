"""Videos are written completely or not at all."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.decode import VideoReader, read_frames
from fedvsr.video.encode import VideoWriter
from fedvsr.video.writing.output_formats import CODECS, output_format
from tests.unit.video.ffmpeg_cli import decode


def write(path, frames, fps=24.0):
    with VideoWriter(path, fps) as video:
        for frame in frames:
            video.write(frame)
    return path


@pytest.mark.parametrize("name", ["out.mkv", "out.avi", "out"])
def test_lossless_formats_keep_the_frames_exactly(tmp_path, noise, name):
    np.testing.assert_array_equal(read_frames(write(tmp_path / "new" / name, noise)), noise)


def test_mp4_keeps_size_and_frame_rate_and_nearly_the_pixels(tmp_path, samples):
    clip = read_frames(samples / "train_000.mp4", stop=6)
    path = write(tmp_path / "out.mp4", clip, fps=30.0)
    with VideoReader(path) as video:
        assert (video.fps, video.frame_count, video.height, video.width) == (30.0, 6, 216, 384)
        assert np.abs(np.stack(list(video)).astype(int) - clip).mean() < 4


def test_images_in_a_folder_are_named_as_in_reds(tmp_path, noise):
    folder = write(tmp_path / "000", noise[:, :23, :31])  # odd sizes are allowed here
    assert sorted(path.name for path in folder.iterdir()) == [f"{index:08d}.png" for index in range(5)]


def test_an_existing_file_is_replaced_and_an_existing_folder_is_not(tmp_path, noise):
    write(tmp_path / "a.mkv", noise)
    assert len(read_frames(write(tmp_path / "a.mkv", noise[:2]))) == 2
    write(tmp_path / "a", noise)
    with pytest.raises(VideoError, match="the folder already exists"):
        write(tmp_path / "a", noise[:2])


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
def test_an_error_while_writing_changes_no_file(tmp_path, noise, name):
    if name != "out":
        write(tmp_path / name, noise)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def failing():
        yield noise[0]
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        write(tmp_path / name, failing())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frame was written"),
        ([np.zeros((8, 8, 3), np.float32)], "expected a uint8 frame"),
        ([np.zeros((8, 8), np.uint8)], "expected a uint8 frame"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], "frame 1 is 10×8 pixels"),
    ],
)
def test_frames_that_do_not_fit_the_format_are_refused(tmp_path, frames, message):
    with pytest.raises(VideoError, match=message):
        write(tmp_path / "out.mkv", frames)
    assert list(tmp_path.iterdir()) == []


def test_invalid_settings_are_refused(tmp_path):
    with pytest.raises(VideoError, match=r"'\.gif' cannot be written; use \.mp4"):
        VideoWriter(tmp_path / "out.gif", 24.0)
    with pytest.raises(VideoError, match="give a positive number"):
        VideoWriter(tmp_path / "out.mp4", 0)
    (tmp_path / "file").touch()
    with (
        pytest.raises(VideoError, match="cannot be written"),
        VideoWriter(tmp_path / "file" / "out.mp4", 24.0),
    ):
        pass


def test_a_missing_encoder_is_an_error_before_the_first_frame(tmp_path, monkeypatch):
    monkeypatch.setitem(CODECS, "h264", replace(CODECS["h264"], encoder="zzzz"))
    with pytest.raises(VideoError, match=r"zzzz.*use \.mkv"):
        VideoWriter(tmp_path / "out.mp4", 24.0, size=(24, 32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.avi", "out"])
def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path, name):
    # A limit on the size of files is what a full disk looks like from inside: a write that fails.
    script = f"""
import resource
import numpy as np
from fedvsr.errors import VideoError
from fedvsr.video.encode import VideoWriter
from pathlib import Path

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 256, (8, 144, 176, 3), np.uint8)
try:
    with VideoWriter(Path({str(tmp_path / name)!r}), 24) as video:
        for frame in noise:
            video.write(frame)
except VideoError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot be written" in run.stdout
    assert "check for a full disk" in run.stdout
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["12:30:05.mp4", "file:a.mkv", "100%.mp4", "%05d.mkv", "a b?.avi", "50%d"])
def test_names_are_names_never_protocols_or_patterns(tmp_path, noise, name):
    write(tmp_path / name, noise)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if "." in name:
        assert len(decode(tmp_path / name)) == 5


def test_odd_sides_are_kept_by_lossless_formats(tmp_path, random):
    frames = random.integers(0, 256, (2, 195, 291, 3), np.uint8)
    for name in ("out.mkv", "out.avi", "out"):
        np.testing.assert_array_equal(read_frames(write(tmp_path / name, frames)), frames)


def test_ffmpeg_prints_nothing(tmp_path, noise, capfd):
    for name, codec in [("a.mp4", "h264"), ("a.mp4", "h265"), ("a.mp4", "av1"), ("a.mov", "prores")]:
        chosen = output_format(tmp_path / name, codec=codec)
        with VideoWriter(tmp_path / name, 25, output_format=chosen) as video:
            video.write(noise[0])
    assert capfd.readouterr() == ("", "")
