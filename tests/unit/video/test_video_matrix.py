"""docs/videos.md lists what is read and written; every cell of its tables is tried here.

`FEDVSR_UPDATE_GOLDENS=1 pytest tests/unit/video/test_video_matrix.py` writes the tables anew.
"""

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from fedvsr.video.decode import VideoReader
from fedvsr.video.encode import VideoWriter
from fedvsr.video.writing.output_formats import CODECS, CONTAINERS, output_format

DOCUMENT = Path(__file__).parents[3] / "docs" / "videos.md"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FRAMES = 10

# How ffmpeg encodes: 128×96 pixels unless the codec demands another size.
ENCODERS = {
    "H.264": "-c:v libx264",
    "H.265": "-c:v libx265 -x265-params log-level=none",
    "AV1": "-c:v libsvtav1",
    "VP9": "-c:v libvpx-vp9",
    "VP8": "-c:v libvpx",
    "MPEG-2": "-c:v mpeg2video -q:v 2",
    "MPEG-4": "-c:v mpeg4 -q:v 2",
    "DV": "-c:v dvvideo -pix_fmt yuv420p -s 720x576",
    "ProRes": "-c:v prores_ks",
    "DNxHR": "-c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p -s 512x288",
    "FFV1": "-c:v ffv1",
    "MJPEG": "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p",
    "HuffYUV": "-c:v huffyuv -pix_fmt rgb24",
    "Animation": "-c:v qtrle",
    "Theora": "-c:v libtheora -q:v 9",
    "raw": "-c:v rawvideo -pix_fmt yuv420p",
}
READ = {
    ".mp4": "H.264 H.265 AV1 VP9 MPEG-2 MPEG-4 FFV1 MJPEG",
    ".mov": "H.264 H.265 MPEG-2 MPEG-4 DV ProRes DNxHR FFV1 MJPEG HuffYUV Animation raw",
    ".mkv": "H.264 H.265 AV1 VP9 VP8 MPEG-2 MPEG-4 DV ProRes DNxHR FFV1 MJPEG HuffYUV Theora raw",
    ".webm": "AV1 VP9 VP8",
    ".avi": "H.264 MPEG-2 MPEG-4 DV FFV1 MJPEG HuffYUV raw",
    ".ts": "H.264 H.265 MPEG-2 MPEG-4",
    ".m2ts": "H.264 H.265 MPEG-2",
    ".mpg": "H.264 MPEG-2",
    ".vob": "MPEG-2",
    ".mxf": "MPEG-2 DV ProRes DNxHR FFV1",
    ".dv": "DV",
    ".3gp": "H.264 MPEG-4",
    ".m4v": "H.264 MPEG-4",
    ".flv": "H.264",
    ".wmv": "H.264",
    ".ogv": "Theora VP8",
    ".y4m": "raw",
    ".h264": "H.264",
    ".hevc": "H.265",
}
READ_CELLS = [(suffix, codec) for suffix, codecs in READ.items() for codec in codecs.split()]


def ffmpeg(*arguments):
    """Runs ffmpeg and returns what it writes to its standard output."""
    command = [FFMPEG, "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True).stdout


def decode_with_ffmpeg(path, height, width):
    pixels = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


def assert_decoded_as_by_ffmpeg(path, frames):
    """Checks that frames are ffmpeg's, up to rounding and to the way that chroma is interpolated."""
    expected = decode_with_ffmpeg(path, *frames.shape[1:3])
    assert frames.shape == expected.shape
    difference = np.abs(frames.astype(int) - expected)
    assert np.quantile(difference, 0.999) <= 8
    assert difference.mean() < 2


def check_table(name, rows):
    """Checks a table of the document, between two comments, or writes it."""
    text = DOCUMENT.read_text()
    begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
    before, rest = text.split(begin)
    after = rest[rest.index(end) :]
    table = "".join("| " + " | ".join(row) + " |\n" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])
    updated = before + begin + table + after
    if os.environ.get("FEDVSR_UPDATE_GOLDENS"):
        DOCUMENT.write_text(updated)
    assert DOCUMENT.read_text() == updated, "check the difference; FEDVSR_UPDATE_GOLDENS=1 accepts it"


# Colours change smoothly, because ffmpeg and FFmpeg's libraries place the chroma of sharp edges differently.
SOURCE = f"gradients=s=128x96:r=25:d={FRAMES / 25}:seed=3:speed=0.1,format=yuv420p"
# The codecs of films and cameras, with ffmpeg's encoder and a container.
TRAIT_CODECS = {
    "H.264": ("libx264", ".mp4"),
    "H.265": ("libx265 -x265-params log-level=none", ".mkv"),
    "AV1": ("libsvtav1", ".mkv"),
    "VP9": ("libvpx-vp9", ".webm"),
    "ProRes": ("prores_ks", ".mov"),
    "FFV1": ("ffv1", ".mkv"),
}
# How ffmpeg makes a trait, what is read, and the codecs that have the trait.
TRAITS = {
    "10 bits": (
        "-pix_fmt yuv420p10le",
        "8 bits for clips, all bits for `upscale`",
        "H.264 H.265 AV1 VP9 FFV1",
    ),
    "10 bits, 4:2:2": (
        "-pix_fmt yuv422p10le",
        "8 bits for clips, all bits for `upscale`",
        "H.264 H.265 VP9 ProRes FFV1",
    ),
    "4:2:2": ("-pix_fmt yuv422p", "in full", "H.264 H.265 VP9 FFV1"),
    "4:4:4": ("-pix_fmt yuv444p", "in full", "H.264 H.265 VP9 FFV1"),
    "odd sizes": ("-pix_fmt yuv444p -vf crop=127:95:exact=1", "in full", "H.264 H.265 VP9 FFV1"),
    "full range": (
        "-pix_fmt yuv420p -vf scale=out_range=pc -color_range pc",
        "by its tag",
        "H.264 H.265 AV1 VP9 FFV1",
    ),
    "anamorphic pixels": ("-vf setsar=64/45", "the aspect is carried", "H.264 H.265 ProRes FFV1"),
    "variable rate": (
        "-vf setpts=(N+5*gte(N\\,5))/25/TB -fps_mode vfr -enc_time_base 1/100",
        "every frame has its time",
        "H.264 H.265 AV1 ProRes FFV1",
    ),
}
TRAIT_CELLS = [(trait, codec) for trait, (_, _, codecs) in TRAITS.items() for codec in codecs.split()]


@pytest.mark.parametrize(("suffix", "codec"), READ_CELLS)
def test_a_video_is_read_as_ffmpeg_decodes_it(tmp_path, suffix, codec):
    path = tmp_path / f"video{suffix}"
    ffmpeg("-f", "lavfi", "-i", SOURCE, *ENCODERS[codec].split(), "-strict", "-2", path)
    with VideoReader(path) as video:
        frames = np.stack(list(video))
        assert (video.fps, len(frames)) == (25, FRAMES)
    assert_decoded_as_by_ffmpeg(path, frames)


def test_the_table_of_readable_videos():
    rows = [
        [f"`{suffix}`", *("✓" if codec in codecs.split() else "" for codec in ENCODERS)]
        for suffix, codecs in READ.items()
    ]
    check_table("read", [["", *ENCODERS], *rows])


@pytest.mark.parametrize(("trait", "codec"), TRAIT_CELLS)
def test_a_trait_is_read(tmp_path, trait, codec):
    encoder, suffix = TRAIT_CODECS[codec]
    path = tmp_path / f"video{suffix}"
    ffmpeg("-f", "lavfi", "-i", SOURCE, "-c:v", *encoder.split(), *TRAITS[trait][0].split(), path)
    with VideoReader(path, deep=True) as video:
        timed = list(video.timed_frames())
    frames = np.stack([frame.pixels for frame in timed])
    if frames.dtype == np.uint16:
        frames = ((frames.astype(int) + 128) // 257).astype(np.uint8)
    assert_decoded_as_by_ffmpeg(path, frames)
    assert (video.bit_depth > 8) == (trait.startswith("10 bits") or codec == "ProRes")
    assert video.pixel_aspect == (Fraction(64, 45) if trait == "anamorphic pixels" else 1)
    pause = 5 if trait == "variable rate" else 0
    times = [Fraction(index + pause * (index >= 5), 25) for index in range(FRAMES)]
    assert max(abs(frame.time - time) for frame, time in zip(timed, times, strict=True)) <= Fraction(1, 1000)


def test_the_table_of_traits():
    rows = [
        [trait, *("✓" if codec in codecs.split() else "" for codec in TRAIT_CODECS), result]
        for trait, (_, result, codecs) in TRAITS.items()
    ]
    check_table("traits", [["", *TRAIT_CODECS, "is read"], *rows])


# What goes along into a container, besides the frames.
WRITTEN_TRAITS = {
    ".mp4": "times, pixel aspect, sound, subtitles, chapters, title",
    ".m4v": "times, pixel aspect, sound, subtitles, chapters, title",
    ".mov": "times, pixel aspect, sound, subtitles, chapters, title",
    ".mkv": "times, pixel aspect, sound, subtitles, chapters, title",
    ".webm": "times, sound, subtitles, chapters, title",
    ".avi": "times, sound, title",
}
WRITTEN_CELLS = [(suffix, codec) for suffix, container in CONTAINERS.items() for codec in container.codecs]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """An anamorphic film of variable rate with sound, subtitles, a chapter and a title."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nfedvsr\n")
    (folder / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
    )
    path = folder / "film.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", SOURCE, "-f", "lavfi", "-i", "sine=440:d=0.6"),
        *("-i", folder / "words.srt", "-i", folder / "chapters.txt", "-map_metadata", "3"),
        *("-map", "0", "-map", "1", "-map", "2", "-c:v", "ffv1", "-c:a", "aac", "-c:s", "srt", path),
    )
    return path


def written_streams(path):
    """Returns what ffmpeg says of a file."""
    command = [FFMPEG, "-hide_banner", "-i", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stderr


@pytest.mark.parametrize(("suffix", "codec"), WRITTEN_CELLS)
def test_a_video_is_written_with_what_its_source_has(tmp_path, film, suffix, codec):
    path = tmp_path / f"out{suffix}"
    with VideoReader(film) as reader:
        timed = list(reader.timed_frames())
        writer = VideoWriter(
            path,
            reader.fps,
            output_format=output_format(path, codec=codec),
            size=(96, 128),
            pixel_aspect=Fraction(64, 45),
            copy_from=film,
        )
        with writer as output:
            for frame in timed:
                output.write(frame.pixels, frame.time + (frame.time >= Fraction(1, 5)))
    carried = WRITTEN_TRAITS[suffix]
    description = written_streams(path)
    assert ("Audio:" in description) == ("sound" in carried)
    assert ("Subtitle:" in description) == ("subtitles" in carried)
    assert ("Chapter #0:0" in description) == ("chapters" in carried)
    assert ("A film" in description) == ("title" in carried)
    with VideoReader(path) as reader:
        times = [frame.time for frame in reader.timed_frames()]
    # Some containers store the size of the picture on the screen, in whole pixels.
    aspect = Fraction(64, 45) if "pixel aspect" in carried else 1
    assert abs(reader.pixel_aspect - aspect) < Fraction(1, 100)
    lasts = times[-1] - times[0]
    assert abs(lasts - (Fraction(9, 25) + ("times" in carried))) <= Fraction(1, 100)
    largest = {"ffv1": 0, "prores": 40}.get(codec, 60)
    difference = np.abs(decode_with_ffmpeg(path, 96, 128).astype(int) - np.stack([f.pixels for f in timed]))
    assert difference.max() <= largest
    assert difference.mean() <= 4


def test_the_tables_of_written_videos():
    titles = {codec: CODECS[codec].title for _, codec in WRITTEN_CELLS}
    rows = []
    for suffix, container in CONTAINERS.items():
        cells = [
            "default" if codec == container.codecs[0] else "✓" if codec in container.codecs else ""
            for codec in titles
        ]
        rows.append([f"`{suffix}`", *cells, WRITTEN_TRAITS[suffix]])
    check_table("written", [["", *titles.values(), "goes along"], *rows])
