"""Colours are read by their tags, or by the size of the picture, for every codec, range and depth."""

import numpy as np
import pytest

from fedvsr.video.decode import VideoReader, read_frames

COLOURS = {
    "white": (235, 235, 235),
    "yellow": (191, 191, 0),
    "cyan": (0, 191, 191),
    "green": (0, 191, 0),
    "magenta": (191, 0, 191),
    "red": (191, 0, 0),
    "blue": (0, 0, 191),
    "black": (16, 16, 16),
}
PATCHES = tuple(COLOURS.values())
TAGS = {
    "bt601": "-color_primaries smpte170m -color_trc smpte170m -colorspace smpte170m",
    "bt709": "-color_primaries bt709 -color_trc bt709 -colorspace bt709",
    "untagged": "",
}


def make_patches(
    ffmpeg,
    path,
    size,
    matrix,
    *encoding,
    value_range="tv",
    pixel_format="yuv420p",
    colours=PATCHES,
):
    """Writes eight flat colours, a column each, converted by ffmpeg with an explicit matrix and range."""
    width, height = map(int, size.split("x"))
    picture = np.repeat(np.array(colours, np.uint8), width // 8, axis=0)
    raw = path.with_suffix(".rgb")
    raw.write_bytes(np.broadcast_to(picture, (3, height, *picture.shape)).tobytes())
    scale = f"scale=out_color_matrix={matrix}:out_range={value_range}:flags=accurate_rnd"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", raw)
    ffmpeg(*source, "-vf", f"{scale},format={pixel_format}", *encoding, path)
    return path


def centres(frame):
    """Returns the colour in the middle of each of the eight columns, 0 to 255."""
    height, width = frame.shape[:2]
    scale = 257 if frame.dtype == np.uint16 else 1
    return frame[height // 2, width // 16 :: width // 8].astype(float) / scale


def assert_colours(frame):
    np.testing.assert_allclose(centres(frame), list(COLOURS.values()), atol=3)


@pytest.mark.parametrize(
    ("size", "tag", "matrix"),
    [
        ("1280x720", "bt709", "bt709"),
        ("1280x720", "bt601", "smpte170m"),
        ("1280x720", "untagged", "bt709"),
        ("1920x1080", "untagged", "bt709"),
        ("720x576", "bt601", "smpte170m"),
        ("720x576", "bt709", "bt709"),
        ("720x576", "untagged", "smpte170m"),
    ],
)
def test_the_tag_decides_and_else_the_size(tmp_path, ffmpeg, size, tag, matrix):
    encoding = ("-c:v", "libx264", "-crf", "4", "-preset", "ultrafast", *TAGS[tag].split())
    path = make_patches(ffmpeg, tmp_path / "a.mp4", size, matrix, *encoding)
    assert_colours(read_frames(path)[0])


@pytest.mark.parametrize(
    ("encoder", "suffix"),
    [
        ("libx264 -crf 4 -preset ultrafast", ".mkv"),
        ("libx265 -crf 4 -preset ultrafast -x265-params log-level=none", ".mp4"),
        ("libvpx-vp9 -lossless 1", ".webm"),
        ("ffv1", ".mkv"),
        ("mjpeg -q:v 1 -strict -1", ".avi"),
    ],
)
@pytest.mark.parametrize("value_range", ["tv", "pc"])
def test_full_and_limited_range(tmp_path, ffmpeg, encoder, suffix, value_range):
    if "mjpeg" in encoder and value_range == "tv":
        pytest.skip("JPEG has full range")
    encoding = ("-c:v", *encoder.split(), "-color_range", value_range, *TAGS["bt601"].split())
    path = make_patches(
        ffmpeg, tmp_path / f"a{suffix}", "320x240", "smpte170m", *encoding, value_range=value_range
    )
    assert_colours(read_frames(path)[0])


@pytest.mark.parametrize("pixel_format", ["yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
@pytest.mark.parametrize("deep", [False, True])
def test_chroma_and_depth(tmp_path, ffmpeg, pixel_format, deep):
    path = make_patches(
        ffmpeg, tmp_path / "a.mkv", "320x240", "smpte170m", "-c:v", "ffv1", pixel_format=pixel_format
    )
    with VideoReader(path, deep=deep) as video:
        frame = next(video)
    assert frame.dtype == (np.uint16 if deep and "1" in pixel_format[-5:] else np.uint8)
    assert_colours(frame)


MUTED = [(200, 200, 200), (170, 130, 120), (120, 160, 130), (110, 120, 160), (160, 150, 100), (90, 60, 70),
         (60, 90, 80), (16, 16, 16)]  # fmt: skip
# ITU-R BT.2087: linear BT.2020 to linear BT.709.
BT2020_TO_BT709 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]


def bt2020_to_bt709(colours):
    """Converts through the light of a display with a gamma of 2.4 (ITU-R BT.1886); 0 to 255."""
    light = (np.array(colours) / 255) ** 2.4 @ np.transpose(BT2020_TO_BT709)
    return 255 * np.clip(light, 0, 1) ** (1 / 2.4)


def test_bt2020_without_hdr_is_converted_to_bt709(tmp_path, ffmpeg):
    tags = "log-level=none:colorprim=bt2020:colormatrix=bt2020nc:transfer=bt709"
    encoding = ("-c:v", "libx265", "-crf", "4", "-x265-params", tags)
    path = make_patches(
        ffmpeg,
        tmp_path / "a.mp4",
        "320x240",
        "bt2020nc",
        *encoding,
        pixel_format="yuv420p10le",
        colours=MUTED,
    )
    np.testing.assert_allclose(centres(read_frames(path)[0]), bt2020_to_bt709(MUTED), atol=7)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_tone_mapped(tmp_path, ffmpeg, transfer):
    """A ramp from black to the brightest value stays a ramp of grey that reaches from black to near white."""
    path = tmp_path / "a.mp4"
    ramp = "nullsrc=s=512x64:r=25:d=0.2,format=yuv420p10le,geq=lum='64+876*X/511':cb=512:cr=512"
    tags = ("-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc")
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        ramp,
        "-c:v",
        "libx265",
        "-crf",
        "4",
        "-x265-params",
        "log-level=none",
        *tags,
        path,
    )
    row = read_frames(path)[0][32].astype(int)
    assert np.ptp(row, axis=1).max() <= 3
    steps = np.diff(row[::16, 1])
    assert (steps >= -1).all()
    assert row[0].max() <= 3
    assert row[-1].min() >= 225


def test_nonsense_tags_do_not_stop_reading(tmp_path, ffmpeg):
    plain = make_patches(ffmpeg, tmp_path / "a.mkv", "320x240", "smpte170m", "-c:v", "libx264")
    tags = "colour_primaries=8:transfer_characteristics=9:matrix_coefficients=8"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata={tags}", tmp_path / "b.mkv")
    assert len(read_frames(tmp_path / "b.mkv")) == 3
