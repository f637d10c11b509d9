"""The frames of all videos are split into consecutive parts, one per client."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import ConfigError
from fedvsr.video.split_frames import VideoPart, split_frames

REDS = {f"{number:03d}": 100 for number in range(240)}


def frames_of(part, lengths):
    """Returns the number of a client's frames."""
    return sum((piece.stop_frame or lengths[piece.video]) - piece.first_frame for piece in part)


@st.composite
def split_arguments(draw):
    minimum = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    capacity = sum(length // minimum for length in lengths)
    if not capacity:
        lengths.append(minimum)
        capacity = 1
    return {
        "frame_counts": {f"{index:02d}": length for index, length in enumerate(lengths)},
        "client_count": draw(st.integers(1, capacity)),
        "scheme": draw(st.sampled_from(["equal", "quantity-skew"])),
        "minimum_frames": minimum,
        "alpha": draw(st.floats(0, 50)),
    }


@settings(max_examples=300)
@given(arguments=split_arguments())
def test_every_usable_frame_goes_to_one_client_in_pieces_that_make_clips(arguments):
    lengths, minimum = arguments["frame_counts"], arguments["minimum_frames"]
    parts = split_frames(**arguments)
    assert len(parts) == arguments["client_count"]
    assert all(parts)
    owned = []
    for part in parts:
        for piece in part:
            stop = lengths[piece.video] if piece.stop_frame is None else piece.stop_frame
            assert stop - piece.first_frame >= minimum
            assert (piece.stop_frame is None) == (stop == lengths[piece.video])
            owned += [(piece.video, frame) for frame in range(piece.first_frame, stop)]
    # Consecutive, complete, and without overlap.
    assert owned == [(n, f) for n, length in lengths.items() if length >= minimum for f in range(length)]


@pytest.mark.parametrize(("clients", "frames"), [(40, 600), (120, 200), (240, 100)])
def test_equal_parts_of_reds_are_whole_videos(clients, frames):
    parts = split_frames(REDS, clients, "equal", 30)
    assert {frames_of(part, REDS) for part in parts} == {frames}
    assert all(piece.first_frame == 0 and piece.stop_frame is None for part in parts for piece in part)


def test_a_skew_by_frames_is_that_of_fedvsrs_code_where_clients_get_enough():
    # Its code takes the whole frames of each share, and gives what is left to the last client.
    shares = np.exp(0.1 * np.arange(1, 41))
    theirs = np.int64(24_000 * shares / shares.sum())
    theirs[-1] += 24_000 - theirs.sum()
    ours = np.array([frames_of(part, REDS) for part in split_frames(REDS, 40, "quantity-skew", 8)])
    assert theirs[:3].tolist() == [47, 52, 57]
    # A cut moves by at most half of the shortest piece, at either end of a client's part.
    assert np.abs(ours - 24_000 * shares / shares.sum()).max() <= 8
    assert np.abs(ours - theirs)[:-1].max() <= 8


def test_the_smallest_shares_are_raised_to_one_clip_and_the_others_keep_their_proportions():
    parts = split_frames(REDS, 240, "quantity-skew", 10)
    frames = np.array([frames_of(part, REDS) for part in parts])
    assert frames.min() == 10
    assert (frames[:150] < 20).all()
    ratios = frames[-20:] / frames[-21:-1]
    assert ratios == pytest.approx(np.exp(0.1), rel=0.05)


def test_videos_that_are_too_short_go_to_nobody():
    parts = split_frames({"a": 9, "b": 2, "c": 7}, 3, "equal", 3)
    assert parts == (
        (VideoPart("a", 0, 5),),
        (VideoPart("a", 5, None), VideoPart("c", 0, 3)),
        (VideoPart("c", 3, None),),
    )


def test_more_clients_than_clips_are_refused():
    with pytest.raises(
        ConfigError, match=r"clients\.count: 6 .*needs 3 frames of one video .*between 1 and 5"
    ):
        split_frames({"a": 9, "b": 2, "c": 7}, 6, "equal", 3)
    with pytest.raises(ConfigError, match=r"clients\.count: 0"):
        split_frames(REDS, 0, "equal", 3)
    with pytest.raises(ConfigError, match=r"clients\.alpha: nan"):
        split_frames(REDS, 2, "quantity-skew", 3, float("nan"))
