"""A format that cannot hold a video is refused before the first frame, with one that can."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.encode import VideoWriter
from fedvsr.video.writing.output_formats import CONTAINERS, find_caution, output_format
from tests.unit.video.ffmpeg_cli import decode, describe

PAIRS = [(suffix, codec) for suffix, container in CONTAINERS.items() for codec in container.codecs]
FFMPEG_NAMES = {"h265": "hevc"}


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_every_pair_of_container_and_codec_holds_the_frames(tmp_path, make_clip, suffix, codec):
    # Most formats have half the resolution for colour, so the clip is grey.
    grey = make_clip(1, frames=3, size=64)[..., :1].repeat(3, axis=-1)
    path, clip = tmp_path / f"out{suffix}", grey
    with VideoWriter(path, 25, size=(64, 64), output_format=output_format(path, codec=codec)) as video:
        for frame in clip:
            video.write(frame)
    assert f"Video: {FFMPEG_NAMES.get(codec, codec)}" in describe(path)
    decoded = decode(path)
    assert decoded.shape == clip.shape
    assert np.abs(decoded.astype(int) - clip).mean() <= (0 if codec == "ffv1" else 8)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.gif", {}, r"'\.gif' cannot be written; use \.mp4"),
        ("a.webm", {"codec": "prores"}, r"\.webm does not hold ProRes; use \.mov or \.mkv"),
        ("a.mp4", {"codec": "ffv1"}, r"\.mp4 does not hold FFV1; use \.mkv or \.avi"),
        ("a", {"codec": "h264"}, r"a folder does not hold H\.264; use \.mp4"),
        ("a.mp4", {"codec": "vp8"}, "there is no codec 'vp8'; use one of av1"),
        ("a.mkv", {"crf": 20}, "FFV1 has no constant rate factor"),
        ("a.mp4", {"crf": 52}, r"52 is not in 0\.\.51"),
        ("a.mp4", {"preset": "8"}, "H.264 has no preset '8'; use one of ultrafast"),
        ("a.avi", {"preset": "slow"}, "FFV1 has no preset 'slow'; it has none"),
        ("a.mkv", {"bit_depth": 7}, r"7 bits per sample are not in 8\.\.16"),
    ],
)
def test_options_that_do_not_go_together_are_refused(name, options, message):
    with pytest.raises(VideoError, match=message):
        output_format(Path(name), **options)


@pytest.mark.parametrize(
    ("name", "codec", "size", "fps", "message"),
    [
        ("a.mp4", None, (195, 291), 25, r"H\.264 .* the odd size 291×195; use \.mkv \(FFV1, lossless\)"),
        ("a.mov", "prores", (64, 63), 25, r"the odd size 63×64; use \.mkv"),
        ("a.mp4", None, (64, 16386), 25, r"16386×64 pixels: a side is at most 16384; use \.mkv"),
        ("a.mkv", None, (20000, 20000), 25, "no video file can hold .* use a folder of PNG frames"),
        ("a.mp4", "h265", (2, 2), 25, r"H\.265 cannot hold 2×2 pixels at 25 fps.*libx265 refuses"),
        ("a.mkv", None, (64, 64), 1200, r"matroska cannot hold 1200 frames per second.*use \.mp4"),
        ("a.avi", None, (65, 65), 1200, "avi cannot hold 1200 frames.*; use a folder of PNG frames"),
        ("a.mp4", "av1", (64, 64), 1200, r"AV1 cannot hold 64×64 pixels at 1200 fps.*use \.mp4"),
        ("a.mp4", None, (64, 64), 2_000_000, "the frame rate 2e[+]06 is not in"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_said_before_the_first_frame(tmp_path, name, codec, size, fps, message):
    path = tmp_path / name
    with pytest.raises(VideoError, match=message):
        VideoWriter(path, fps, size=size, output_format=output_format(path, codec=codec))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "size", "fps"),
    [
        ("a.mp4", (48, 2080), 25),
        ("a.mp4", (16, 8192), 25),
        ("a.mp4", (2, 2), 25),
        ("a.mp4", (64, 64), 1200),
        ("a.mp4", (64, 64), 90_000),
        ("a.mp4", (64, 64), Fraction(1, 10)),
        ("a.avi", (64, 64), 1000),
        ("a.mkv", (195, 291), 25),
        ("a.avi", (1, 3), 25),
        ("a.mkv", (1, 1), 1000),
        ("a", (195, 291), 1200),
    ],
)
def test_unusual_sizes_and_rates_that_a_format_holds_are_written(tmp_path, name, size, fps):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    with VideoWriter(tmp_path / name, fps, size=size) as video:
        for frame in frames:
            video.write(frame)
    if name == "a":
        assert len(list((tmp_path / name).iterdir())) == 3
        return
    decoded = decode(tmp_path / name)
    assert decoded.shape == frames.shape
    if not name.endswith("mp4"):
        np.testing.assert_array_equal(decoded, frames)


def test_frames_of_more_bits_stay_so_where_the_format_has_them(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
    for name, codec, kind, error in [
        ("a.mkv", "ffv1", "gbrp10le", 65),
        ("b.mp4", "h265", "yuv420p10le", None),
        ("c.mp4", "av1", "yuv420p10le", None),
        ("d.mov", "prores", "yuv422p10le", None),
    ]:
        path = tmp_path / name
        chosen = output_format(path, codec=codec, bit_depth=10)
        with VideoWriter(path, 25, size=(64, 64), output_format=chosen) as video:
            video.write(ramp)
        assert kind in describe(path)
        assert video.notes == []
        if error:
            assert np.abs(decode(path, kind="rgb48le")[0].astype(int) - ramp).max() < error


def test_h264_beyond_its_levels_is_written_with_a_caution():
    assert find_caution(output_format(Path("a.mp4")), (4320, 8192)) is None
    assert "Few players" in find_caution(output_format(Path("a.mp4")), (8640, 15360))
    assert find_caution(output_format(Path("a.mkv")), (8640, 15360)) is None


def test_h264_keeps_8_bits_and_says_so(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25, size=(64, 64), output_format=output_format(path, bit_depth=10)) as video:
        video.write(np.full((64, 64, 3), 40_000, np.uint16))
    assert "yuv420p(" in describe(path)
    assert "10 bits per sample; H.264 in mp4 keeps 8" in video.notes[0]
    assert np.abs(decode(path).astype(int) - round(40_000 / 257)).max() <= 3


def test_a_folder_keeps_16_bits_exactly(tmp_path):
    frame = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    chosen = output_format(tmp_path / "a", bit_depth=12)
    with VideoWriter(tmp_path / "a", 25, output_format=chosen) as video:
        video.write(frame)
    decoded = decode(tmp_path / "a" / "00000000.png", kind="rgb48le")
    np.testing.assert_array_equal(decoded[0], frame)
