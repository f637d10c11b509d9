"""Every storage gives back the pixels that it was given, whatever part of them is asked for."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import ShardError
from fedvsr.video.decode import VideoReader, read_frames
from fedvsr.video.shards import ClipInfo
from fedvsr.video.storage.base import PixelStorage, group_pieces
from fedvsr.video.storage.registry import STORAGES
from fedvsr.video.storage.source import cut_at_key_frames, frame_counts

PIXEL_STORAGES = [name for name, storage in STORAGES.items() if isinstance(storage, PixelStorage)]


def clip(frames: int, height: int, width: int, seed: int = 0, first_frame: int = 0) -> tuple:
    """A clip of which half is noise and half a slope."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    pixels[:, :, : width // 2] = np.arange(width // 2)[:, None] % 256
    info = ClipInfo(
        name=str(first_frame),
        frames=frames,
        height=height,
        width=width,
        fps=24,
        source="a film",
        first_frame=first_frame,
    )
    return info, pixels


@pytest.mark.parametrize("name", PIXEL_STORAGES)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), shape=st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(1, 300)))
def test_any_part_has_the_pixels_that_were_written(tmp_path_factory, name, data, shape):
    path = tmp_path_factory.mktemp("storage") / "shard"
    pieces = [clip(*shape), clip(2, *shape[1:], seed=1, first_frame=9)]
    STORAGES[name].write(path, "frames", pieces)
    expected = np.concatenate([pixels for _, pixels in pieces])
    stored = STORAGES[name].open(path, len(expected))
    assert tuple(stored.shape) == expected.shape
    key = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length)))))
        for length in expected.shape[:3]
    )
    np.testing.assert_array_equal(stored[key], expected[key])
    np.testing.assert_array_equal(stored[:], expected)


@pytest.mark.parametrize("name", PIXEL_STORAGES)
def test_the_same_pieces_give_the_same_bytes(tmp_path, name):
    for file in ("a", "b"):
        STORAGES[name].write(tmp_path / file, "frames", [clip(2, 150, 140)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", PIXEL_STORAGES)
def test_a_shard_of_another_length_or_format_is_refused(tmp_path, name):
    path = tmp_path / "shard"
    STORAGES[name].write(path, "frames", [clip(2, 20, 30)])
    with pytest.raises(ShardError, match="expected 3 frames, found 2"):
        STORAGES[name].open(path, 3)
    other = next(storage for storage in PIXEL_STORAGES if storage != name)
    with pytest.raises(ShardError):
        STORAGES[other].open(path, 2)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError):
        STORAGES[name].open(path, 2)[:]


def test_lossless_shards_of_smooth_pictures_are_small(tmp_path):
    frames = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (4, 256, 256, 3))
    info = clip(4, 256, 256)[0]
    STORAGES["lossless"].write(tmp_path / "shard", "frames", [(info, np.ascontiguousarray(frames))])
    assert (tmp_path / "shard").stat().st_size < frames.nbytes / 100


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    most_frames=st.integers(0, 12),
)
def test_pieces_are_bounded_and_lose_nothing(lengths, most_frames):
    starts = np.cumsum([0, *lengths[:-1]])
    clips = [
        clip(length, 4, 5, i, int(start))
        for i, (length, start) in enumerate(zip(lengths, starts, strict=True))
    ]
    groups = list(group_pieces(iter(clips), most_frames * 4 * 5 * 3))
    counts = [sum(info.frames for info, _ in group) for group in groups]
    assert all(count <= max(most_frames, 1) for count in counts)
    assert all(count == max(most_frames, 1) for count in counts[:-1])
    pieces = [piece for group in groups for piece in group]
    assert all(pixels.shape == info.shape for info, pixels in pieces)
    np.testing.assert_array_equal(
        np.concatenate([pixels for _, pixels in pieces]), np.concatenate([pixels for _, pixels in clips])
    )
    assert [info.first_frame for info, _ in pieces] == list(
        np.cumsum([0, *(info.frames for info, _ in pieces[:-1])])
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A video of 50 frames with a key frame every 12 and frames that depend on later ones."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    pixels = clip(1, 120, 160)[1][0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24000, 1001))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, 2
        for number in range(50):
            frame = np.ascontiguousarray(pixels[number % 24 :][:96, number % 30 :][:, :128])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_stream_cut_at_key_frames_has_the_frames_of_the_video(film, tmp_path):
    files = cut_at_key_frames(film, tmp_path, 1)
    with VideoReader(film) as reader:
        counts = frame_counts(files, reader)
    assert len(files) > 3
    assert counts is not None
    assert sum(counts) == 50
    frames = read_frames(film)
    start = 0
    for file, count in zip(files, counts, strict=True):
        stored = STORAGES["source"].open(file, count)
        np.testing.assert_array_equal(stored[:], frames[start : start + count])
        np.testing.assert_array_equal(stored[1:3, 5:20, 7:9], frames[start + 1 : start + 3, 5:20, 7:9])
        start += count


def test_frames_that_differ_are_noticed(film, tmp_path):
    files = cut_at_key_frames(film, tmp_path, 1)
    frames = read_frames(film)
    changed = frames.copy()
    changed[30, 0, 0, 0] ^= 1
    assert frame_counts(files, iter(frames)) is not None
    assert frame_counts(files, iter(changed)) is None
    assert frame_counts(files, iter(frames[:-1])) is None
    assert frame_counts(files[:-1], iter(frames)) is None
