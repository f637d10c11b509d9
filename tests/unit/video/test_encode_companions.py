"""Sound, subtitles, chapters and metadata of the source are in the output, or a note says why not."""

import struct
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.encode import VideoWriter
from tests.unit.video.ffmpeg_cli import decode, decode_sound, describe, ffmpeg, rewrite

SUBTITLES = """1
00:00:00,200 --> 00:00:00,900
Hello <i>world</i>

2
00:00:01,500 --> 00:00:02,000
The end
"""
METADATA = """;FFMETADATA1
title=My Film
artist=Somebody
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2000
title=Two
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A Matroska film with two languages, subtitles, chapters, a font and a cover."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "s.srt").write_text(SUBTITLES)
    (folder / "m.txt").write_text(METADATA)
    (folder / "font.ttf").write_bytes(b"a font" * 20)
    ffmpeg("-f", "lavfi", "-i", "color=red:s=16x16", "-frames:v", 1, folder / "cover.png")
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-f", "lavfi", "-i", "sine=440:d=2:r=48000",
        "-f", "lavfi", "-i", "sine=880:d=2:r=44100", "-i", folder / "s.srt", "-i", folder / "m.txt",
        "-map", 0, "-map", 1, "-map", 2, "-map", 3, "-map_metadata", 4,
        "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu",
        "-metadata:s:a:1", "title=Kommentar", "-metadata:s:s:0", "language=fra",
        "-disposition:a:0", 0, "-disposition:a:1", "default", "-c:v", "libx264", "-c:a:0", "aac",
        "-c:a:1", "pcm_s16le", "-c:s", "srt", "-attach", folder / "font.ttf",
        "-metadata:s:t:0", "mimetype=application/x-truetype-font", "-attach", folder / "cover.png",
        "-metadata:s:t:1", "mimetype=image/png", folder / "film.mkv",
    )  # fmt: skip
    return folder / "film.mkv"


def read_subtitles(path):
    return ffmpeg("-i", path, "-map", "0:s:0", "-f", "srt", "-").decode()


def sound_packets(path, stream=0):
    """The bytes of a stream of sound as they are stored."""
    return ffmpeg("-i", path, "-map", f"0:a:{stream}", "-c", "copy", "-f", "data", "-")


def empty_picture(seconds):
    """A subtitle of a Blu-ray disc that shows nothing: a composition of 64×48 pixels without objects."""
    composition = struct.pack(">HHBHBBBB", 64, 48, 0x10, 0, 0x80, 0, 0, 0)
    segments = ((0x16, composition), (0x80, b""))
    return b"".join(
        b"PG" + struct.pack(">IIBH", round(seconds * 90_000), 0, kind, len(payload)) + payload
        for kind, payload in segments
    )


def frequency(samples):
    """The loudest frequency in Hz of sound with 48,000 samples per second."""
    spectrum = np.abs(np.fft.rfft(samples[4800:43_200]))
    return np.argmax(spectrum) * 48_000 / 38_400


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_sound_subtitles_chapters_and_metadata_go_along(tmp_path, film, suffix):
    path = tmp_path / f"out{suffix}"
    rewrite(film, path)
    assert frequency(decode_sound(path, 0)) == pytest.approx(440, abs=2)
    assert frequency(decode_sound(path, 1)) == pytest.approx(880, abs=2)
    assert len(decode_sound(path, 0)) / 48_000 == pytest.approx(2, abs=0.03)
    text = read_subtitles(path)
    assert "00:00:00,200 --> 00:00:00,900\n" in text
    assert "<i>world</i>" in text
    assert "00:00:01,500 --> 00:00:02,000\nThe end" in text
    with av.open(str(path)) as video:
        assert video.metadata["title"] == "My Film"
        chapters = [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in video.chapters()]
        assert chapters == [(0, "One"), (1, "Two")]
        assert video.streams.audio[0].language == "eng"
        assert video.streams.subtitles[0].language == "fra"
        second = video.streams.audio[1]
        assert bool(second.disposition & second.disposition.default)
        assert "Kommentar" in second.metadata.values()
        assert "Lavc" not in describe(path)


def test_matroska_keeps_every_stream_as_it_is(tmp_path, film):
    path = tmp_path / "out.mkv"
    assert rewrite(film, path).notes == []
    for stream in (0, 1):
        assert sound_packets(path, stream) == sound_packets(film, stream)
    said = describe(path)
    assert "Attachment: ttf" in said
    assert "(attached pic)" in said


def test_mp4_converts_what_its_players_do_not_know_and_says_so(tmp_path, film):
    path = tmp_path / "out.mp4"
    notes = rewrite(film, path).notes
    assert notes == [
        "The sound of stream 2 (pcm_s16le) was encoded to aac: players of mp4 expect it.",
        "The subtitles of stream 3 (subrip) were converted to mov_text: mp4 demands it.",
        "The attachment stream 4 (font.ttf) was left out; .mkv holds it.",
    ]
    assert sound_packets(path, 0) == sound_packets(film, 0)
    assert "Video: png" in describe(path)
    # A second generation needs no conversion any more, and keeps the track's title.
    again = tmp_path / "again.mp4"
    assert rewrite(path, again).notes == []
    assert sound_packets(again, 1) == sound_packets(path, 1)
    assert "Kommentar" in describe(again)


def test_sound_from_matroska_has_the_exact_times_of_its_samples_in_mp4(tmp_path, film):
    rewrite(film, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as video:
        times = [packet.pts for packet in video.demux(audio=0) if packet.size]
        assert video.streams.audio[0].time_base == Fraction(1, 48_000)
    assert {later - earlier for earlier, later in pairwise(times)} == {1024}


def test_avi_says_what_it_does_not_hold(tmp_path, film):
    notes = "\n".join(rewrite(film, tmp_path / "out.avi").notes)
    assert "The sound of stream 1 (aac) was encoded to pcm_s16le" in notes
    assert "subtitle stream 3 (subrip) was left out: avi does not hold subtitles; .mkv does." in notes
    assert "The chapters were left out" in notes
    assert frequency(decode_sound(tmp_path / "out.avi", 1)) == pytest.approx(880, abs=2)


def test_pictures_as_subtitles_stay_in_matroska_and_are_left_out_of_mp4(tmp_path, film):
    source, pictures = tmp_path / "source.mkv", tmp_path / "pictures.sup"
    pictures.write_bytes(empty_picture(0.5) + empty_picture(1.5))
    ffmpeg("-i", film, "-i", pictures, "-map", "0:v:0", "-map", "1:s", "-c", "copy", source)
    assert rewrite(source, tmp_path / "out.mkv").notes == []
    assert "Subtitle: hdmv_pgs_subtitle" in describe(tmp_path / "out.mkv")
    notes = rewrite(source, tmp_path / "out.mp4").notes
    assert "does not hold subtitles of pictures; .mkv does" in notes[0]


def test_a_part_has_its_part_of_everything(tmp_path, film):
    path = tmp_path / "out.mkv"
    rewrite(film, path, start=Fraction(4, 5), duration=Fraction(1))
    text = read_subtitles(path)
    assert "00:00:00,000 --> 00:00:00,100\n" in text
    assert "00:00:00,700 --> 00:00:01,000\nThe end" in text
    with av.open(str(path)) as video:
        chapters = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in video.chapters()]
    assert chapters == [(0, Fraction(1, 5)), (Fraction(1, 5), 1)]
    for stream in (0, 1):
        assert len(decode_sound(path, stream)) / 48_000 == pytest.approx(1, abs=0.03)
    assert len(decode(path)) == 25


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.ts", ["-c:v", "mpeg2video", "-c:a", "mp2"]),
        ("in.ts", ["-c:v", "libx264", "-c:a", "aac"]),
        ("in.avi", ["-c:v", "mpeg4", "-c:a", "pcm_s16le"]),
        ("in.avi", ["-c:v", "mpeg4", "-c:a", "mp3"]),
        ("in.mov", ["-c:v", "prores", "-c:a", "pcm_s24be"]),
        ("in.mkv", ["-c:v", "ffv1", "-c:a", "flac"]),
        ("in.mkv", ["-c:v", "ffv1", "-c:a", "ac3"]),
        ("in.webm", ["-c:v", "libvpx", "-c:a", "libvorbis"]),
        ("in.flv", ["-c:v", "flv", "-c:a", "mp3", "-ar", "44100"]),
        ("in.wmv", ["-c:v", "wmv2", "-c:a", "wmav2"]),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_sound_of_every_container_is_heard(tmp_path, name, options, suffix):
    source, path = tmp_path / name, tmp_path / f"out{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=1000:d=1:r=48000",
           *options, source)  # fmt: skip
    rewrite(source, path)
    sound = decode_sound(path)
    assert frequency(sound) == pytest.approx(1000, abs=5)
    assert len(sound) / 48_000 == pytest.approx(1, abs=0.09)


def test_the_rotation_of_the_source_is_not_carried_because_its_frames_are_turned(tmp_path, film):
    source, path = tmp_path / "source.mp4", tmp_path / "out.mp4"
    ffmpeg("-display_rotation", 90, "-i", film, "-map", "0:v:0", "-c", "copy", source)
    assert "rotation of" in describe(source)
    rewrite(source, path)
    assert "rotation of" not in describe(path)


def test_a_folder_and_a_silent_film_have_nothing_to_copy(tmp_path, film, noise, save_images):
    silent = tmp_path / "silent.mkv"
    ffmpeg("-i", film, "-map", "0:v:0", "-c", "copy", silent)
    for source in (silent, save_images(tmp_path / "frames", noise)):
        with VideoWriter(tmp_path / "out.mp4", 25, copy_from=source) as video:
            video.write(noise[0])
        assert video.notes == []
        assert "Audio" not in describe(tmp_path / "out.mp4")


def test_a_source_that_is_no_video_is_an_error_that_leaves_nothing(tmp_path, noise):
    (tmp_path / "source.mkv").write_text("no video")
    with pytest.raises(VideoError, match=r"source\.mkv: its sound cannot be read"):
        VideoWriter(tmp_path / "out.mp4", 25, copy_from=tmp_path / "source.mkv").__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["source.mkv"]


def test_the_same_frames_give_the_same_bytes(tmp_path, film):
    for suffix in (".mp4", ".mkv", ".webm"):
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        rewrite(film, first)
        rewrite(film, second)
        assert first.read_bytes() == second.read_bytes()


def test_sound_that_does_not_decode_is_noted(tmp_path, noise):
    source = tmp_path / "source.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-f", "lavfi", "-i", "sine=1000:d=2:r=48000",
           "-c:v", "ffv1", "-c:a", "libvorbis", source)  # fmt: skip
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        damaged = bytes(packets[len(packets) // 2])
    source.write_bytes(source.read_bytes().replace(damaged, b"\xff" * len(damaged), 1))
    with VideoWriter(tmp_path / "out.mp4", 25, copy_from=source) as video:
        video.write(noise[0])
    assert any("1 packets of the audio stream 1 do not decode" in note for note in video.notes)
