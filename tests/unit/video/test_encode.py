"""Videos are written completely or not at all."""

import cv2
import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.decode import VideoReader, read_frames
from fedvsr.video.encode import VideoWriter


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
        ([np.zeros((9, 8, 3), np.uint8)], "odd size 8×9"),
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


def test_a_missing_encoder_is_an_error_that_names_the_codec(tmp_path, noise, monkeypatch):
    monkeypatch.setattr("fedvsr.video.encode.CODECS", {".mp4": "zzzz"})
    with pytest.raises(VideoError, match="no zzzz encoder"):
        write(tmp_path / "out.mp4", noise)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_detected(tmp_path, noise, monkeypatch):
    class EncoderOnFullDisk:
        """Accepts every frame without an error, as OpenCV's writer does; a subclass of that one crashes."""

        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *arguments):
            pass

        def isOpened(self):
            return True

        def write(self, frame):
            pass

        def release(self):
            pass

    monkeypatch.setattr("fedvsr.video.encode.cv2.VideoWriter", EncoderOnFullDisk)
    with pytest.raises(VideoError, match="5 frames were written, but 0 are in the file"):
        write(tmp_path / "out.mkv", noise)
    assert list(tmp_path.iterdir()) == []
