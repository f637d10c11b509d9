"""A video keeps its rate, its length and its timing."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedvsr.video.encode import VideoWriter
from fedvsr.video.writing.output_formats import output_format
from tests.unit.video.ffmpeg_cli import decode, decode_sound, ffmpeg, frame_times, rewrite

FRAME = np.zeros((32, 32, 3), np.uint8)


def write_times(path, fps, times, last=None, codec=None):
    with VideoWriter(path, fps, size=(32, 32), output_format=output_format(path, codec=codec)) as video:
        for time in times:
            video.write(FRAME, time, last)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.webm"])
@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(25), Fraction(60000, 1001), Fraction(15, 2)])
def test_a_constant_rate_is_exact(tmp_path, name, fps):
    path = write_times(tmp_path / name, fps, [None] * 12)
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        if fps == Fraction(60000, 1001) and name in ("a.mkv", "a.webm"):
            # Matroska has the duration of a frame in nanoseconds. FFmpeg reads it as a fraction with a
            # numerator of at most 30000.
            assert stream.average_rate == pytest.approx(float(fps), rel=1e-6)
        else:
            assert stream.average_rate == fps
            assert stream.guessed_rate == fps


@pytest.mark.parametrize(
    ("fps", "exact"), [(24000 / 1001, Fraction(24000, 1001)), (23.976, Fraction(2997, 125)), (25.0, 25)]
)
def test_a_rate_that_is_a_float_becomes_the_fraction_it_stands_for(tmp_path, fps, exact):
    with av.open(str(write_times(tmp_path / "a.mp4", fps, [None] * 12))) as video:
        assert video.streams.video[0].average_rate == exact


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("fps", [1200, 90_000])
def test_high_rates_are_exact(tmp_path, name, fps):
    times = frame_times(write_times(tmp_path / name, fps, [None] * 7))
    assert times == [Fraction(number, fps) for number in range(7)]


@pytest.mark.parametrize(
    ("name", "error"),
    [("a.mp4", Fraction(1, 90_000)), ("a.mkv", Fraction(1, 1000)), ("a.avi", Fraction(1, 60))],
)
def test_a_variable_rate_keeps_its_length(tmp_path, name, error):
    source = tmp_path / "source.mkv"
    picks = "select='lt(t,0.5)+not(mod(n,30))'"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=30:d=5", "-vf", picks, "-fps_mode", "vfr", source)
    before = frame_times(source)
    assert (len(before), before[-1]) == (19, 4)
    with VideoWriter(tmp_path / name, 30, size=(64, 64)) as video:
        for time in before:
            video.write(np.zeros((64, 64, 3), np.uint8), time, Fraction(1))
    assert video.notes == []
    # AVI repeats a frame by an empty packet, which has no time of its own.
    after = frame_times(tmp_path / name)
    assert len(after) == len(before)
    assert max(abs(new - old) for new, old in zip(after, before, strict=True)) <= error
    if name != "a.avi":
        with av.open(str(tmp_path / name)) as video:
            assert abs(video.duration / av.time_base - 5) <= 0.002


@pytest.mark.parametrize("name", ["a.avi", "a"])
def test_times_that_the_output_cannot_hold_are_said_once(tmp_path, name):
    with VideoWriter(tmp_path / name, 25) as video:
        for time in (Fraction(0), Fraction(1, 70), Fraction(1, 9), Fraction(1, 7)):
            video.write(FRAME, time)
    assert len(video.notes) == 1
    assert "these frames have their own times; .mp4 and .mkv hold them" in video.notes[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.fractions(Fraction(1, 500), 2, max_denominator=90_000), min_size=1, max_size=12),
    fps=st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(2997, 100)]),
)
def test_any_times_that_grow_are_kept(tmp_path, steps, fps):
    times = [sum(steps[:index], Fraction(0)) for index in range(len(steps) + 1)]
    after = frame_times(write_times(tmp_path / "a.mp4", fps, times))
    assert max(abs(new - old) for new, old in zip(after, times, strict=True)) <= Fraction(1, 180_000)


def test_frames_with_the_same_time_are_all_kept_in_their_order(tmp_path):
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 25), Fraction(1, 50), Fraction(3, 25)]
    after = frame_times(write_times(tmp_path / "a.mp4", 25, times))
    assert len(after) == 5
    assert all(later > earlier for earlier, later in pairwise(after))


def make_beep_and_flash(path, *video_options):
    """At 1.00 to 1.08 s of the picture a white flash; at 1.00 to 1.10 s of the sound a beep."""
    picture = "color=black:s=64x48:r=25:d=2,drawbox=enable='between(t,0.99,1.05)':color=white:t=fill"
    sound = "aevalsrc='if(between(t,1,1.1),sin(2*PI*1000*t),0)':s=48000:d=2"
    ffmpeg(*video_options, "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-c:v", "ffv1",
           "-c:a", "aac" if path.suffix == ".mp4" else "pcm_s16le", path)  # fmt: skip


def flash_and_beep(path):
    """When the flash and the beep begin, in seconds."""
    frames = decode(path).mean(axis=(1, 2, 3))
    loud = np.abs(decode_sound(path)) > 0.3
    return float(frame_times(path)[int(np.argmax(frames > 128))]), int(np.argmax(loud)) / 48_000


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
@pytest.mark.parametrize("delay", [0, 0.6])
def test_a_flash_stays_with_its_beep(tmp_path, suffix, delay):
    source = tmp_path / "source.mkv"
    make_beep_and_flash(source, "-itsoffset", delay)
    before = flash_and_beep(source)
    rewrite(source, tmp_path / f"out{suffix}")
    after = flash_and_beep(tmp_path / f"out{suffix}")
    assert after[0] - after[1] == pytest.approx(before[0] - before[1], abs=0.02)
    # FFmpeg writes the delay of an AAC encoder into Matroska as a shift of all streams.
    assert after[0] == pytest.approx(1 + delay, abs=0.03)


def test_a_part_of_a_film_keeps_the_flash_with_its_beep(tmp_path):
    source = tmp_path / "source.mkv"
    make_beep_and_flash(source)
    rewrite(source, tmp_path / "out.mp4", start=Fraction(4, 5), duration=Fraction(2, 5))
    flash, beep = flash_and_beep(tmp_path / "out.mp4")
    assert flash == pytest.approx(0.2, abs=0.001)
    assert beep == pytest.approx(0.2, abs=0.025)
    assert len(frame_times(tmp_path / "out.mp4")) == 10
    assert len(decode_sound(tmp_path / "out.mp4")) / 48_000 == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_is_longer_than_the_picture_is_kept_whole(tmp_path, suffix):
    source = tmp_path / "source.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=1", "-f", "lavfi", "-i", "sine=440:d=3:r=48000",
           "-c:v", "ffv1", "-c:a", "pcm_s16le", source)  # fmt: skip
    rewrite(source, tmp_path / f"out{suffix}")
    assert len(frame_times(tmp_path / f"out{suffix}")) == 25
    assert len(decode_sound(tmp_path / f"out{suffix}")) / 48_000 == pytest.approx(3, abs=0.03)
