"""A player shows the colours and the shape of the frames that were written."""

from fractions import Fraction

import numpy as np
import pytest

from fedvsr.video.encode import VideoWriter
from fedvsr.video.writing.output_formats import output_format
from tests.unit.video.ffmpeg_cli import decode, describe

COLOURS = np.array(
    [
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)],
        [(255, 255, 0), (0, 255, 255), (255, 0, 255), (16, 96, 160)],
    ],
    np.uint8,
)
HD, SD = (720, 1280), (576, 720)
CODECS = [("a.mp4", "h264"), ("a.mp4", "h265"), ("a.mp4", "av1"), ("a.mov", "prores"), ("a.mkv", "h264"),
          ("a.mkv", "ffv1"), ("a.webm", "av1")]  # fmt: skip


def write_colours(path, size, codec=None, pixel_aspect=Fraction(1)):
    flat = COLOURS.repeat(size[0] // 2, axis=0).repeat(size[1] // 4, axis=1)
    chosen = output_format(path, codec=codec)
    with VideoWriter(path, 25, size=size, output_format=chosen, pixel_aspect=pixel_aspect) as video:
        for _ in range(2):
            video.write(flat)


def colour_error(path, size, filters="null"):
    centres = decode(path, filters)[:, size[0] // 4 :: size[0] // 2, size[1] // 8 :: size[1] // 4]
    return np.abs(centres.astype(int) - COLOURS).max()


@pytest.mark.parametrize(("name", "codec"), CODECS)
@pytest.mark.parametrize(
    ("size", "matrix", "tags"), [(HD, "bt709", "bt709"), (SD, "smpte170m", "smpte170m")], ids=["HD", "SD"]
)
def test_flat_colours_come_back_with_and_without_their_tags(tmp_path, name, codec, size, matrix, tags):
    path = tmp_path / name
    write_colours(path, size, codec)
    assert colour_error(path, size) <= 3
    if codec == "ffv1":
        assert "(pc, gbr/bt709/bt709" in describe(path)
        return
    # A player that ignores the tags takes the standard of the size.
    assert colour_error(path, size, f"scale=in_color_matrix={matrix}:in_range=tv") <= 3
    assert f"(tv, {tags}" in describe(path)


def test_an_mp4_has_the_colours_in_its_header_too(tmp_path):
    write_colours(tmp_path / "a.mp4", HD)
    data = (tmp_path / "a.mp4").read_bytes()
    header = data.index(b"colrnclx") + 8
    # ISO/IEC 14496-12: primaries, transfer and matrix as 16-bit numbers, and the full-range flag.
    assert data[header : header + 7] == bytes([0, 1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(("name", "codec"), [*CODECS[:-1], ("a.mkv", "av1"), ("a.mkv", "prores")])
def test_anamorphic_video_keeps_its_shape(tmp_path, name, codec):
    write_colours(tmp_path / name, SD, codec, Fraction(64, 45))
    assert "SAR 64:45 DAR 16:9" in describe(tmp_path / name)
    assert decode(tmp_path / name).shape == (2, 576, 720, 3)


@pytest.mark.parametrize("name", ["a.avi", "a.webm", "a"])
def test_a_lost_shape_is_said(tmp_path, name):
    assert "aspect ratio 64:45" in VideoWriter(tmp_path / name, 25, pixel_aspect=Fraction(64, 45)).notes[0]


def test_an_mp4_starts_with_its_index_so_that_a_browser_plays_while_it_loads(tmp_path):
    write_colours(tmp_path / "a.mp4", SD)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_h265_in_mp4_has_the_name_that_quicktime_knows(tmp_path):
    write_colours(tmp_path / "a.mp4", SD, "h265")
    assert "hvc1" in describe(tmp_path / "a.mp4")
