"""Videos are cut into pieces where the shot changes, within limits of length."""

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.errors import ConfigError
from fedvsr.video.decode import read_frames
from fedvsr.video.shots import split_shots


def spans(pieces):
    """Returns the first frame of each piece and the frame after its last."""
    return [(first, first + len(frames)) for first, frames in pieces]


def split(frames, minimum, maximum, detect=True):
    return split_shots(frames, fps=24.0, minimum_frames=minimum, maximum_frames=maximum, detect=detect)


@pytest.fixture(scope="module")
def film(samples):
    """Five shots of 32, 20, 5, 32 and 11 frames."""
    lengths = {"train_000": 32, "train_015": 20, "train_050": 5, "eval_045": 32, "train_082": 11}
    return np.concatenate([read_frames(samples / f"{name}.mp4", stop=n) for name, n in lengths.items()])


def test_pieces_start_exactly_at_the_cuts(film):
    pieces = list(split(iter(film), 1, 100))
    assert spans(pieces) == [(0, 32), (32, 52), (52, 57), (57, 89), (89, 100)]
    for first, frames in pieces:
        np.testing.assert_array_equal(frames, film[first : first + len(frames)])


def test_a_short_shot_is_dropped_and_not_merged_with_a_neighbour(film):
    assert spans(split(film, 7, 100)) == [(0, 32), (32, 52), (57, 89), (89, 100)]


def test_a_long_shot_is_cut_into_pieces_and_its_short_rest_is_dropped(film):
    assert spans(split(film[:52], 10, 15)) == [(0, 15), (15, 30), (32, 47)]


def test_a_cut_next_to_either_end_is_detected(film):
    assert spans(split(film[31:53], 1, 100)) == [(0, 1), (1, 21), (21, 22)]


@pytest.mark.parametrize("name", ["train_003", "train_036", "train_067", "eval_103"])
def test_a_video_of_one_shot_is_not_cut(samples, name):
    assert spans(split(read_frames(samples / f"{name}.mp4"), 1, 100)) == [(0, 32)]


def test_a_video_without_frames_has_no_shots():
    assert list(split(iter([]), 1, 10)) == []


def test_detection_can_be_turned_off(film):
    assert spans(split(film, 1, 40, detect=False)) == [(0, 40), (40, 80), (80, 100)]


@given(
    length=st.integers(0, 40),
    limits=st.tuples(st.integers(1, 15), st.integers(1, 15)).map(sorted),
)
def test_without_detection_pieces_cover_the_video_except_a_short_rest(length, limits):
    minimum, maximum = limits
    frames = np.arange(length, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    end = 0
    for first, piece in split(frames, minimum, maximum, detect=False):
        assert first == end
        assert minimum <= len(piece) <= maximum
        np.testing.assert_array_equal(piece, frames[first : first + len(piece)])
        end += len(piece)
    assert length - end < minimum


def test_memory_holds_at_most_one_long_piece_and_a_few_frames():
    class Frame(np.ndarray):
        """An array that can be weakly referenced."""

    references = []
    max_alive = 0

    def stream():
        nonlocal max_alive
        for value in range(200):
            frame = np.full((16, 16, 3), value, np.uint8).view(Frame)
            references.append(weakref.ref(frame))
            max_alive = max(max_alive, sum(reference() is not None for reference in references))
            yield frame

    for _ in split(stream(), 1, 10):
        pass
    assert max_alive <= 10 + 5  # the piece, and the few frames that wait for the detector


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 10), (11, 10)])
def test_lengths_out_of_range_are_refused(minimum, maximum):
    with pytest.raises(ConfigError, match="frames"):
        split([], minimum, maximum)
