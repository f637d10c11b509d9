"""A video that stopped is continued from its finished segments, and is the same as one that did not stop."""

import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.encode import VideoWriter
from fedvsr.video.writing.output_formats import output_format
from tests.unit.video.ffmpeg_cli import decode, describe, ffmpeg, frame_times

# A variable rate: the second half has long pauses.
TIMES = [Fraction(n, 25) if n < 10 else Fraction(10, 25) + Fraction((n - 10) * 7, 60) for n in range(20)]


@pytest.fixture(scope="module")
def frames(make_clip):
    return make_clip(3, frames=20, size=32)


def write(path, frames, stop=None, error=KeyboardInterrupt, times=TIMES, **options):
    """Writes the frames that are missing, and fails before frame ``stop``; returns how many were kept."""
    options = {"size": (32, 32), "segment_frames": 4, "resume": True, **options}
    with VideoWriter(path, 25, **options) as video:
        kept = video.frames_written
        for number in range(kept, len(frames)):
            if number == stop:
                raise error
            video.write(frames[number], times[number], Fraction(1, 2))
        assert video.frames_written == len(frames)
    return kept


def stop_at(path, frames, stop, **options):
    with pytest.raises(KeyboardInterrupt):
        write(path, frames, stop, **options)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mp4", "h265"), ("a.mp4", "av1"), ("a.mkv", "ffv1"), ("a.mov", "prores"),
     ("a.avi", "ffv1"), ("a.webm", "av1")],
)  # fmt: skip
def test_a_continued_video_has_the_bytes_of_one_that_did_not_stop(tmp_path, frames, name, codec):
    chosen = output_format(tmp_path / name, codec=codec)
    write(tmp_path / f"whole-{name}", frames, output_format=chosen)
    stop_at(tmp_path / name, frames, 7, output_format=chosen)
    stop_at(tmp_path / name, frames, 14, output_format=chosen)
    assert not (tmp_path / name).exists()
    assert write(tmp_path / name, frames, output_format=chosen) == 12
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"whole-{name}"])


def test_the_times_are_those_of_a_video_without_segments(tmp_path, frames):
    write(tmp_path / "direct.mp4", frames, resume=False)
    write(tmp_path / "segments.mp4", frames)
    times = frame_times(tmp_path / "segments.mp4")
    assert times == frame_times(tmp_path / "direct.mp4")
    assert max(abs(new - old) for new, old in zip(times, TIMES, strict=True)) <= Fraction(1, 180_000)
    # Both are whole: the last frame is shown for half a second.
    assert "Duration: 00:00:01.95" in describe(tmp_path / "segments.mp4")
    assert "Duration: 00:00:01.95" in describe(tmp_path / "direct.mp4")


def test_a_folder_continues_after_its_last_image(tmp_path, frames):
    stop_at(tmp_path / "a", frames, 7)
    assert write(tmp_path / "a", frames) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    images = sorted((tmp_path / "a").iterdir())
    assert len(images) == 20
    np.testing.assert_array_equal(decode(images[6])[0], frames[6])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_settings": {"model": "sha-2"}}, "model sha-1, now it is model sha-2; use the same settings"),
        ({"pixel_aspect": Fraction(4, 3)}, "the aspect ratio of pixels 1, now it is 4/3"),
        ({"segment_frames": 8}, "the frames of a segment 4, now it is 8"),
        ({"start": Fraction(1)}, "the start and the duration 0 and None, now it is 1 and None"),
        ({"size": (64, 32)}, "the height and width 32 and 32, now it is 64 and 32"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.mkv", "a"])
def test_other_settings_do_not_continue_and_the_message_says_what_differs(
    tmp_path, frames, name, options, message
):
    settings = {"frame_settings": {"model": "sha-1"}}
    stop_at(tmp_path / name, frames, 6, **settings)
    with pytest.raises(VideoError, match=message):
        write(tmp_path / name, frames, **(settings | options))
    assert write(tmp_path / name, frames, **settings) >= 4


def test_another_format_or_source_does_not_continue(tmp_path, frames):
    source = tmp_path / "source.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=1", source)
    path = tmp_path / "a.mp4"
    stop_at(path, frames, 6, copy_from=source)
    with pytest.raises(VideoError, match="with the format crf 17, now it is crf 20; use the same settings"):
        write(path, frames, copy_from=source, output_format=output_format(path, crf=20))
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=2", source)
    with pytest.raises(VideoError, match="the source with the digest"):
        write(path, frames, copy_from=source)


def test_nothing_is_kept_before_the_first_segment_is_finished(tmp_path, frames):
    stop_at(tmp_path / "a.mp4", frames, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_resume_replaces_what_was_kept(tmp_path, frames):
    stop_at(tmp_path / "a.mkv", frames, 9)
    write(tmp_path / "a.mkv", frames, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


def test_a_run_that_stopped_while_it_joined_the_segments_loses_no_frame(tmp_path, frames, monkeypatch):
    write(tmp_path / "whole.mp4", frames)
    with monkeypatch.context() as patch:

        def full_disk(*arguments):
            raise OSError(28, "No space left on device")

        patch.setattr("fedvsr.video.writing.output_file.OutputFile.add_segment", full_disk)
        with pytest.raises(VideoError, match=r"No space left on device\); check for a full disk"):
            write(tmp_path / "a.mp4", frames)
    assert write(tmp_path / "a.mp4", frames) == 20
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from fedvsr.video.encode import VideoWriter

def stop(number, frame):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, stop)
with VideoWriter(Path(sys.argv[1]), 25, segment_frames=4, resume=sys.argv[2] == "resume") as video:
    for number in range(20):
        video.write(np.full((32, 32, 3), number, np.uint8))
        if number == 9:
            os.kill(os.getpid(), int(sys.argv[3]))
"""


def run_killed(path, resume, number):
    command = [sys.executable, "-c", KILLED, str(path), resume, str(int(number))]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert run.stderr == ""


@pytest.mark.parametrize("name", ["a.mp4", "a"])
def test_a_killed_run_leaves_its_segments_and_the_next_one_cleans_up(tmp_path, frames, name):
    path = tmp_path / name
    run_killed(path, "resume", signal.SIGKILL)
    assert not path.exists()
    with VideoWriter(path, 25, segment_frames=4, resume=True) as video:
        assert video.frames_written == (8 if name == "a.mp4" else 10)
        video.write(frames[0])
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a"])
def test_a_killed_run_without_segments_is_cleaned_up_by_the_next_one(tmp_path, frames, name):
    run_killed(tmp_path / name, "once", signal.SIGKILL)
    assert [item.name[0] for item in tmp_path.iterdir()] == ["."]
    write(tmp_path / name, frames, resume=False)
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.mp4", "a"])
def test_sigterm_leaves_nothing_behind(tmp_path, name):
    run_killed(tmp_path / name, "once", signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
