"""Damage is an error with the frame's number, or is skipped; no frame shows the process's memory."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.video.decode import VideoReader, read_frames

PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
CODECS = {
    "mp4": "-c:v libx264 -pix_fmt yuv420p -movflags +faststart",
    "mkv": "-c:v libx264 -pix_fmt yuv420p",
    "avi": "-c:v mjpeg -pix_fmt yuvj420p",
    "mov": "-c:v prores_ks -movflags +faststart",
}


def make(ffmpeg, folder, suffix):
    path = folder / f"whole.{suffix}"
    ffmpeg(*PICTURE, *CODECS[suffix].split(), path)
    return path


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path, ffmpeg, suffix, share):
    data = make(ffmpeg, tmp_path, suffix).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoError, match=rf"cut\.{suffix}"):
        read_frames(path)


@pytest.mark.parametrize("suffix", CODECS)
def test_the_frames_before_the_cut_can_be_kept(tmp_path, ffmpeg, suffix):
    whole = make(ffmpeg, tmp_path, suffix)
    data = whole.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * 0.6)])
    expected = read_frames(whole)
    with VideoReader(path, skip_damaged=True) as video:
        frames = list(video.timed_frames())
    assert 5 <= len(frames) < 50
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, expected[round(frame.time * 25)])
    assert video.damaged


@pytest.mark.parametrize("suffix", ["avi", "mov"])
def test_a_frame_that_does_not_decode_is_named_or_skipped(tmp_path, ffmpeg, suffix):
    """Every frame stands alone in these codecs, so one damaged packet costs one frame."""
    import av

    whole = make(ffmpeg, tmp_path, suffix)
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        position, size = packet.pos, packet.size
    data = bytearray(whole.read_bytes())
    data[position : position + size] = bytes(size)
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"damaged\..*frame 20"):
        read_frames(path)
    expected = read_frames(whole)
    with VideoReader(path, skip_damaged=True) as video:
        frames = np.stack(list(video))
    assert video.damaged == [20]
    np.testing.assert_array_equal(frames, np.delete(expected, 20, axis=0))


def test_a_frame_whose_checksum_differs_is_named_or_skipped(tmp_path, ffmpeg):
    """FFV1 has a checksum in each slice; FFmpeg's decoder only logs that it differs."""
    import av

    whole = tmp_path / "whole.mkv"
    ffmpeg(*PICTURE, "-c:v", "ffv1", "-level", "3", "-slices", "4", "-slicecrc", "1", "-g", "1", whole)
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        position, size = packet.pos, packet.size
    data = bytearray(whole.read_bytes())
    data[position + size // 2] ^= 0x55
    path = tmp_path / "damaged.mkv"
    path.write_bytes(data)
    # Twice, because the same line in the log is easily overlooked.
    for _ in range(2):
        with pytest.raises(VideoError, match=r"damaged\..*frame 20 .*checksum"):
            read_frames(path)
    expected = read_frames(whole)
    with VideoReader(path, skip_damaged=True) as video:
        frames = np.stack(list(video))
    assert video.damaged == [20]
    np.testing.assert_array_equal(frames, np.delete(expected, 20, axis=0))


def test_a_complete_file_is_never_called_damaged(tmp_path, ffmpeg):
    for suffix in CODECS:
        with VideoReader(make(ffmpeg, tmp_path, suffix), skip_damaged=True) as video:
            assert len(list(video)) == 50
            assert video.damaged == []


INTERLACED = "-vf tinterlace=interleave_top,fieldorder=tff -pix_fmt yuv420p -flags +ilme+ildct"
INPUTS = {
    "interlaced.mpg": f"{INTERLACED} -c:v mpeg2video",
    "interlaced.ts": f"{INTERLACED} -c:v libx264",
    "odd.mkv": "-vf crop=127:95:exact=1 -pix_fmt yuv444p -c:v ffv1",
    "deep.mov": "-c:v prores_ks",
    "full.avi": "-c:v mjpeg -pix_fmt yuvj422p",
}
SCRIPT = """
import hashlib, sys
from pathlib import Path
from fedvsr.video.decode import read_frames
for name in sys.argv[1:]:
    print(hashlib.sha256(read_frames(Path(name)).tobytes()).hexdigest())
"""


def test_frames_do_not_depend_on_what_was_in_memory(tmp_path, ffmpeg):
    """Fresh memory holds two different patterns, and three readings in a process give the same frames."""
    paths = []
    for name, encoding in INPUTS.items():
        paths.append(tmp_path / name)
        ffmpeg(*PICTURE, *encoding.split(), paths[-1])
    digests = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *paths],
            env={**os.environ, "MALLOC_PERTURB_": poison},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for poison in ("85", "170")
    ]
    assert len(set(digests[0])) == len(paths)
    assert digests[0] == digests[1]
    for path, digest in zip(paths, digests[0], strict=True):
        for _ in range(3):
            assert hashlib.sha256(read_frames(path).tobytes()).hexdigest() == digest
