"""A log gets a line now and then, a terminal a bar; both state speed and remaining time."""

import io

import pytest
from rich.console import Console

from fedvsr.cli.frame_progress import describe_rate, show_frames


def log(frames, total, seconds_a_frame, first=0):
    """Returns the lines of a log while frames are finished one after the other."""
    file, now = io.StringIO(), 0.0
    with show_frames(Console(file=file), "out.mp4", total, first, clock=lambda: now) as show:
        for done in range(first + 1, first + frames + 1):
            now += seconds_a_frame
            show(done)
    return file.getvalue().splitlines()


def test_speed_is_frames_since_the_start():
    assert describe_rate(10, 20, 5.0) == "2.0 fps  0:00:10 left"
    assert describe_rate(30, 0, 15.0) == "2.0 fps  0:00:00 left"
    assert describe_rate(10, None, 5.0) == "2.0 fps"
    assert describe_rate(0, 10, 0.0).startswith("0.0 fps")


def test_a_log_gets_about_ten_lines():
    lines = log(100, 100, 0.5)
    assert len(lines) == 10
    assert lines[0] == "out.mp4: 10/100 frames  2.0 fps  0:00:45 left"
    assert lines[-1] == "out.mp4: 100/100 frames  2.0 fps  0:00:00 left"


def test_a_slow_film_gets_a_line_a_minute():
    lines = log(60, 10_000, 7.0)
    assert 6 <= len(lines) <= 8
    assert all("/10000 frames  0.1 fps" in line for line in lines)


def test_a_video_of_unknown_length_gets_lines_too():
    assert log(30, None, 10.0)[0] == "out.mp4: 6 frames  0.1 fps"


def test_frames_that_were_there_do_not_count_as_speed():
    assert log(10, 100, 1.0, first=80)[-1] == "out.mp4: 90/100 frames  1.0 fps  0:00:10 left"


@pytest.mark.parametrize("total", [8, None])
def test_a_terminal_gets_a_bar(total):
    file = io.StringIO()
    with show_frames(Console(file=file, force_terminal=True, width=100), "[out].mp4", total) as show:
        for done in range(1, 9):
            show(done)
    last = file.getvalue().rsplit("[out].mp4", 1)[1]
    assert "8/8" in last if total else "8/?" in last
    assert "fps" in last
