"""Frames have the times that a player shows them at, and all healthy files are accepted."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.decode import VideoReader, read_frames

NUMBERED = "nullsrc=s=64x48:r={rate}:d={seconds},format=yuv420p,geq=lum='16+4*mod(N,50)':cb=128:cr=128"
H264 = ("-c:v", "libx264", "-crf", "8", "-preset", "veryfast")


def source(seconds, rate=25):
    return ("-f", "lavfi", "-i", NUMBERED.format(rate=rate, seconds=seconds))


def numbers(frames):
    """Returns the numbers that are coded as the brightness of frames."""
    grey = np.stack([frame[24, 32, 1] for frame in frames]).astype(float)
    return [round(value) for value in (grey * 219 / 255) / 4]


def timed(path, **options):
    with VideoReader(path, **options) as video:
        return list(video.timed_frames())


def test_b_frames_come_in_the_order_of_playing(tmp_path, ffmpeg):
    ffmpeg(*source(1), *H264, "-bf", "3", tmp_path / "a.mp4")
    frames = timed(tmp_path / "a.mp4")
    assert numbers([frame.pixels for frame in frames]) == list(range(25))
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(25)]


@pytest.mark.parametrize(
    ("rate", "exact"), [("24000/1001", Fraction(24000, 1001)), ("60", 60), ("12.5", 12.5)]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_rates_are_exact(tmp_path, ffmpeg, suffix, rate, exact):
    path = tmp_path / f"a.{suffix}"
    ffmpeg(*source(1, rate), *H264, path)
    with VideoReader(path) as video:
        assert video.fps == exact


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_an_edit_list_leaves_the_frames_that_a_player_shows(tmp_path, ffmpeg, suffix):
    ffmpeg(*source(3), *H264, "-g", "25", tmp_path / "long.mp4")
    path = tmp_path / f"trim.{suffix}"
    ffmpeg("-ss", "1.4", "-i", tmp_path / "long.mp4", "-t", "1", "-c", "copy", path)
    decoded = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    frames = timed(path)
    shown = numbers([frame.pixels for frame in frames])
    assert shown == numbers(np.frombuffer(decoded, np.uint8).reshape(-1, 48, 64, 3))
    assert shown[:25] == [(35 + index) % 50 for index in range(25)]
    assert [frame.time for frame in frames[:25]] == [Fraction(index, 25) for index in range(25)]


def test_sound_may_be_longer_than_the_picture(tmp_path, ffmpeg):
    path = tmp_path / "a.mkv"
    ffmpeg(*source(1), "-f", "lavfi", "-i", "sine=d=3", *H264, "-c:a", "aac", path)
    assert len(read_frames(path)) == 25


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_a_picture_that_starts_late_keeps_its_place_beside_the_sound(tmp_path, ffmpeg, suffix):
    path = tmp_path / f"a.{suffix}"
    ffmpeg("-itsoffset", "2", *source(1), "-f", "lavfi", "-i", "sine=d=3", *H264, "-c:a", "aac", path)
    frames = timed(path)
    assert len(frames) == 25
    assert abs(frames[0].time - 2) < Fraction(1, 20)


def test_a_variable_rate_keeps_every_frames_time(tmp_path, ffmpeg):
    path = tmp_path / "a.mp4"
    ffmpeg(*source(3), "-vf", "select='lt(t,0.5)+not(mod(n,25))'", "-fps_mode", "vfr", *H264, path)
    frames = timed(path)
    expected = [Fraction(index, 25) for index in [*range(13), 25, 50]]
    assert [frame.time for frame in frames] == expected


def test_a_raw_stream_has_the_times_of_its_rate(tmp_path, ffmpeg):
    ffmpeg(*source(1, 30), *H264, tmp_path / "a.h264")
    frames = timed(tmp_path / "a.h264")
    assert numbers([frame.pixels for frame in frames]) == list(range(30))
    assert [frame.time for frame in frames] == [Fraction(index, 30) for index in range(30)]


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_rotated_video_stands_upright(tmp_path, ffmpeg, angle):
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2", *H264, "-pix_fmt", "yuv420p", tmp_path / "a.mp4"
    )
    path = tmp_path / "rotated.mp4"
    ffmpeg("-display_rotation", str(angle), "-i", tmp_path / "a.mp4", "-c", "copy", path)
    with VideoReader(path) as video:
        upright = next(video)
    expected = np.rot90(read_frames(tmp_path / "a.mp4")[0], angle // 90)
    np.testing.assert_array_equal(upright, expected)
    assert (video.height, video.width) == expected.shape[:2]


def test_the_shape_of_pixels_is_read_and_turns_with_the_picture(tmp_path, ffmpeg):
    ffmpeg(*source(0.2), "-vf", "setsar=64/45", *H264, tmp_path / "a.mp4")
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    for name, aspect in (("a.mp4", Fraction(64, 45)), ("b.mp4", Fraction(45, 64))):
        with VideoReader(tmp_path / name) as video:
            assert video.pixel_aspect == aspect


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_part_is_cut_by_time(tmp_path, ffmpeg, suffix):
    path = tmp_path / f"a.{suffix}"
    ffmpeg(*source(2), *H264, "-g", "12", path)
    frames = timed(path, start=Fraction(6, 5), duration=Fraction(2, 5))
    assert numbers([frame.pixels for frame in frames]) == list(range(30, 40))
    assert frames[0].time == Fraction(6, 5)
    with pytest.raises(VideoError, match="start"):
        timed(path, start=Fraction(9))


@pytest.mark.parametrize(
    "name",
    ["12:30:05.mp4", "file:a.mp4", "concat:a|b.mp4", "%05d.mp4", "a?b#c.mp4", "per%20cent.mp4", "-i.mp4"],
)
def test_any_name_of_a_file_is_a_path(tmp_path, ffmpeg, monkeypatch, name):
    ffmpeg(*source(0.2), *H264, tmp_path / "plain.mp4")
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_frames(Path(name))) == 5
    assert len(read_frames(tmp_path / name)) == 5


def test_a_playlist_with_the_name_of_a_video_opens_no_other_file(tmp_path, ffmpeg):
    ffmpeg(*source(0.2), *H264, tmp_path / "secret.ts")
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n",
    ):
        (tmp_path / "a.mp4").write_text(text)
        with pytest.raises(VideoError, match=r"a\.mp4"):
            read_frames(tmp_path / "a.mp4")


def test_a_codec_without_a_decoder_is_named(tmp_path, ffmpeg):
    ffmpeg(*source(0.4), "-vf", "scale=128:96", "-c:v", "libxavs2", tmp_path / "a.mkv")
    with pytest.raises(VideoError, match=r"a\.mkv: the installed FFmpeg has no decoder for its codec avs2"):
        read_frames(tmp_path / "a.mkv")
