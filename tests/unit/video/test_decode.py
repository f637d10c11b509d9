"""Finding videos in folders, decoding them exactly, and clear errors for broken ones."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.decode import VideoReader, read_frames
from fedvsr.video.listing import list_videos
from fedvsr.video.reading.image_folder import FOLDER_FRAMES_PER_SECOND


def smooth_clip(frames=12, height=48, width=64):
    """Makes a gradient that brightens over time. Lossy codecs hardly change it."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [
            np.stack([x * 3, y * 4, np.full_like(x, 10 * t + 40)], axis=-1).astype(np.uint8)
            for t in range(frames)
        ]
    )


def write_mjpeg(path, clip, fps=25.0):
    height, width = clip.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    for frame in clip:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


class TestListVideos:
    def list_relative(self, root, pattern=None):
        return [path.relative_to(root).as_posix() for path in list_videos(root, pattern)]

    def test_files_at_any_depth_come_in_natural_order(self, tmp_path):
        for name in ("clip10.mp4", "clip2.MP4", "b/clip1.mkv", "notes.txt", ".hidden.mp4", ".trash/a.mp4"):
            touch(tmp_path / name)
        assert self.list_relative(tmp_path) == ["b/clip1.mkv", "clip2.MP4", "clip10.mp4"]

    @pytest.mark.parametrize(
        ("image", "video"),
        [
            ("train_sharp/000/00000000.png", "train_sharp/000"),  # REDS
            ("sequences/00001/0001/im1.png", "sequences/00001/0001"),  # Vimeo-90K
            ("GT/calendar/Frame 001.png", "GT/calendar"),  # Vid4
            ("archpeople/truth/0000.png", "archpeople/truth"),  # UDM10
        ],
    )
    def test_folders_of_images_are_videos(self, tmp_path, image, video):
        touch(tmp_path / image)
        assert self.list_relative(tmp_path) == [video]

    def test_the_root_may_be_one_video(self, tmp_path):
        touch(tmp_path / "one.mp4")
        touch(tmp_path / "frames" / "0.png")
        assert list_videos(tmp_path / "one.mp4") == [tmp_path / "one.mp4"]
        assert list_videos(tmp_path / "frames") == [tmp_path / "frames"]

    def test_images_next_to_videos_are_not_a_video(self, tmp_path):
        for name in ("film.mp4", "poster.jpg", "frames/0.png"):
            touch(tmp_path / name)
        assert self.list_relative(tmp_path) == ["film.mp4", "frames"]

    def test_a_pattern_selects_by_relative_path(self, tmp_path):
        for name in ("train_0.mp4", "eval_0.mp4", "sub/train_1.mp4"):
            touch(tmp_path / name)
        assert self.list_relative(tmp_path, "train_*.mp4") == ["sub/train_1.mp4", "train_0.mp4"]
        assert self.list_relative(tmp_path, "sub/*") == ["sub/train_1.mp4"]

    def test_no_video_is_an_error_that_lists_the_accepted_suffixes(self, tmp_path):
        touch(tmp_path / "notes.txt")
        with pytest.raises(VideoError, match=r"no video was found.*\.mp4.*\.png"):
            list_videos(tmp_path)
        with pytest.raises(VideoError, match=r"'x\*'"):
            list_videos(tmp_path, "x*")
        with pytest.raises(VideoError, match="no video"):
            list_videos(tmp_path / "notes.txt")
        with pytest.raises(VideoError, match="no such file"):
            list_videos(tmp_path / "missing")

    def test_a_symbolic_link_to_a_parent_folder_does_not_loop(self, tmp_path):
        touch(tmp_path / "a" / "0.mp4")
        (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
        assert "a/0.mp4" in self.list_relative(tmp_path)


class TestDecoding:
    def test_an_h264_file_gives_its_frame_rate_size_and_frames(self, samples):
        with VideoReader(samples / "train_000.mp4") as video:
            assert (video.fps, video.frame_count, video.height, video.width) == (24.0, 32, 216, 384)
            frames = list(video)
        assert len(frames) == 32
        assert frames[0].shape == (216, 384, 3)
        assert frames[0].dtype == np.uint8

    def test_mjpeg_keeps_colours_and_order(self, tmp_path):
        clip = smooth_clip()
        path = write_mjpeg(tmp_path / "a.avi", clip)
        with VideoReader(path) as video:
            assert video.fps == 25.0
        decoded = read_frames(path)
        assert decoded.shape == clip.shape
        assert np.abs(decoded.astype(int) - clip).mean() < 4  # with blue first, the difference would be large

    @pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
    def test_a_folder_of_images_is_read_exactly_and_in_natural_order(
        self, tmp_path, save_images, noise, suffix
    ):
        names = [f"im{index}.{suffix}" for index in range(8, 13)]  # im8, im9, im10 …
        folder = save_images(tmp_path / "clip", noise, names)
        (folder / "readme.txt").touch()
        with VideoReader(folder) as video:
            assert (video.fps, video.frame_count) == (FOLDER_FRAMES_PER_SECOND, 5)
            assert (video.height, video.width) == (24, 32)
            np.testing.assert_array_equal(np.stack(list(video)), noise)

    def test_grey_and_16_bit_images_become_8_bit_rgb(self, tmp_path, noise):
        cv2.imwrite(str(tmp_path / "0.png"), noise[0, ..., 0])
        cv2.imwrite(str(tmp_path / "1.png"), noise[0, ..., 0].astype(np.uint16) * 257)
        for frame in read_frames(tmp_path):
            np.testing.assert_array_equal(frame, np.repeat(noise[0, ..., :1], 3, axis=-1))

    def test_a_range_of_frames_can_be_read(self, samples):
        path = samples / "train_000.mp4"
        all_frames = read_frames(path)
        np.testing.assert_array_equal(read_frames(path, 10, 14), all_frames[10:14])
        np.testing.assert_array_equal(read_frames(path, 30, 99), all_frames[30:])
        with pytest.raises(VideoError, match="no frames from 32"):
            read_frames(path, 32)


class TestBrokenInput:
    @pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
    def test_a_file_that_is_not_a_video_is_refused(self, tmp_path, content):
        path = tmp_path / "broken.mp4"
        path.write_bytes(content)
        with pytest.raises(VideoError, match=r"broken\.mp4: cannot be opened"):
            read_frames(path)

    def test_a_truncated_mp4_is_refused(self, tmp_path, samples):
        path = tmp_path / "cut.mp4"
        path.write_bytes((samples / "train_000.mp4").read_bytes()[:60_000])
        with pytest.raises(VideoError, match=r"cut\.mp4"):
            read_frames(path)

    def test_a_truncated_avi_gives_its_complete_frames_and_then_an_error(self, tmp_path):
        complete = write_mjpeg(tmp_path / "complete.avi", smooth_clip(height=480, width=640))
        cut = tmp_path / "cut.avi"
        cut.write_bytes(complete.read_bytes()[: complete.stat().st_size // 2])
        assert len(read_frames(cut, stop=5)) == 5
        with pytest.raises(VideoError, match=r"cut\.avi: frame 5 cannot be decoded"):
            read_frames(cut)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff"])
    def test_a_truncated_image_is_refused(self, tmp_path, save_images, noise, suffix):
        folder = save_images(tmp_path, noise, [f"{index}.{suffix}" for index in range(5)])
        damaged = folder / f"3.{suffix}"
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
        with pytest.raises(VideoError, match=rf"3\.{suffix}.*corrupt or cut short"):
            read_frames(folder)

    def test_an_empty_image_is_refused(self, tmp_path):
        (tmp_path / "0.png").touch()
        with pytest.raises(VideoError, match=r"0\.png"):
            read_frames(tmp_path)

    def test_images_of_different_sizes_are_refused(self, tmp_path, save_images, noise):
        save_images(tmp_path, [noise[0], noise[1][:20]])
        with pytest.raises(VideoError, match=r"00000001\.png: is 32×20 pixels.*00000000\.png.*32×24"):
            read_frames(tmp_path)

    def test_a_missing_file_and_a_folder_without_images_are_refused(self, tmp_path):
        with pytest.raises(VideoError, match="no such file"):
            read_frames(tmp_path / "missing.mp4")
        with pytest.raises(VideoError, match="directly contains no image"):
            read_frames(tmp_path)

    def test_opencv_prints_nothing_about_a_broken_file(self, tmp_path):
        path = tmp_path / "broken.mp4"
        path.write_bytes(b"this is no video" * 100)
        script = (
            "import sys, pathlib\n"
            "from fedvsr.errors import VideoError\n"
            "from fedvsr.video.decode import read_frames\n"
            "try: read_frames(pathlib.Path(sys.argv[1]))\n"
            "except VideoError: pass\n"
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
        run = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert run.stdout + run.stderr == ""
