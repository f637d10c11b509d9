"""VMAF: the input and output of ffmpeg, and the errors without an ffmpeg."""

import importlib
import json
import os
import shutil
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fedvsr.errors import InputError
from fedvsr.metrics.color import rgb_to_y
from fedvsr.metrics.vmaf import Vmaf, parse_log, require_ffmpeg

LOG = {
    "version": "3.0.0",
    "frames": [
        {"frameNum": n, "metrics": {"integer_motion2": 0.0, "vmaf": value}}
        for n, value in enumerate((97.5, 42))
    ],
    "pooled_metrics": {"vmaf": {"min": 42, "max": 97.5, "mean": 69.75, "harmonic_mean": 59.2}},
}


def program(folder, script):
    """Puts a shell script named ffmpeg, which answers -filters, into a folder for PATH."""
    folder.mkdir()
    path = folder / "ffmpeg"
    filters = 'case "$*" in *-filters*) echo " .. libvmaf  VV->V  Calculate the VMAF"; exit 0;; esac'
    path.write_text(f"#!/bin/sh\n{filters}\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture
def libvmaf(monkeypatch, tmp_path_factory):
    """The path of a real ffmpeg with libvmaf; the development packages' own is put on PATH."""
    folder = tmp_path_factory.mktemp("ffmpeg")
    with suppress(ImportError, RuntimeError):  # a RuntimeError: the package has none for this machine
        (folder / "ffmpeg").symlink_to(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    try:
        return require_ffmpeg()
    except InputError as error:
        pytest.skip(str(error))


def video(frames=6, height=66, width=82):
    """Returns a moving picture with detail."""
    rows, columns = np.mgrid[:height, :width]
    planes = [
        [
            np.sin(u * (rows + 2 * t)) * np.cos(v * (columns - t))
            for u, v in ((0.2, 0.1), (0.3, 0.4), (0.1, 0.7))
        ]
        for t in range(frames)
    ]
    return np.uint8(np.rint(127.5 + 100 * np.array(planes))).transpose(0, 2, 3, 1)


def noisy(frames, amount):
    noise = np.random.default_rng(1).normal(0, amount, frames.shape)
    return np.uint8(np.clip(np.rint(frames + noise), 0, 255))


def measure(output, truth):
    with Vmaf(*truth.shape[1:3]) as meter:
        for pair in zip(output, truth, strict=True):
            meter.add(*pair)
        return meter.finish()


def test_the_log_is_read():
    np.testing.assert_array_equal(parse_log(json.dumps(LOG), 2), [97.5, 42])


@pytest.mark.parametrize(
    ("text", "frames", "message"),
    [
        (json.dumps(LOG), 3, "measured 2 frames of 3"),
        ("", 2, "has an unknown form"),
        ("[]", 2, "has an unknown form"),
        ('{"frames": [{"metrics": {"psnr": 3}}]}', 1, "has an unknown form"),
    ],
)
def test_an_unexpected_log_is_refused(text, frames, message):
    with pytest.raises(InputError, match=message):
        parse_log(text, frames)


def test_without_any_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no ffmpeg: put one on PATH, .*https://"):
        require_ffmpeg()


def test_an_ffmpeg_without_libvmaf_is_named(monkeypatch, tmp_path):
    folder = program(tmp_path / "bin", "")
    path = folder / "ffmpeg"
    # Debian's ffmpeg only has the filter vmafmotion, whose description contains VMAF.
    path.write_text('#!/bin/sh\necho " ... vmafmotion  V->V  Calculate the VMAF Motion score, not libvmaf"\n')
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(InputError, match=rf"{path} has none: put one on PATH"):
        require_ffmpeg()


def test_the_input_of_ffmpeg(monkeypatch, tmp_path):
    """Every picture has both lumas, the output on top, then grey: three planes of 4:4:4."""
    script = (
        f"echo \"$@\" > {tmp_path}/arguments\ncat > {tmp_path}/input\necho '{json.dumps(LOG)}' > vmaf.json"
    )
    folder = program(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    a, b = video(2, 33, 40), video(2, 33, 40)[::-1]
    np.testing.assert_array_equal(measure(a, b), [97.5, 42])
    sent = np.frombuffer((tmp_path / "input").read_bytes(), np.uint8).reshape(2, 3, 2, 33, 40)
    np.testing.assert_array_equal(sent[:, 0, 0], np.rint(rgb_to_y(a)))
    np.testing.assert_array_equal(sent[:, 0, 1], np.rint(rgb_to_y(b)))
    assert np.all(sent[:, 1:] == 128)
    arguments = (tmp_path / "arguments").read_text()
    assert "-pix_fmt yuv444p -video_size 40x66" in arguments
    assert "[output][truth]libvmaf=" in arguments  # the distorted video comes first


@pytest.mark.parametrize("reads", ["head -c 10 > /dev/null", "cat > /dev/null"])
def test_an_error_of_ffmpeg_quotes_its_last_line(monkeypatch, tmp_path, reads):
    folder = program(tmp_path / "bin", f"{reads}\necho details >&2\necho no such model >&2\nexit 1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    frames = video(40)
    with pytest.raises(InputError, match=r"could not measure VMAF after \d+ frames: no such model"):
        measure(frames, frames)


def test_an_error_between_frames_ends_ffmpeg(monkeypatch, tmp_path):
    folder = program(tmp_path / "bin", f"echo $$ > {tmp_path}/pid\nexec cat > /dev/null")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    frame = video(1)[0]

    def interrupted():
        with Vmaf(66, 82) as meter:
            meter.add(frame, frame)
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                meter.add(frame, frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_frames_that_are_too_small():
    with pytest.raises(InputError, match="64×31 pixels are too small: VMAF needs 32×32"):
        Vmaf(31, 64)


def test_vmaf_falls_with_noise(libvmaf):
    truth = video()
    same, less, more = (measure(noisy(truth, amount), truth).mean() for amount in (0, 4, 16))
    assert 95 < same <= 100
    assert same > less > more


def test_it_equals_ffmpeg_with_two_files(libvmaf, tmp_path):
    """The usual way to call it: two lossless files as two inputs."""
    truth = video()
    output = noisy(truth, 8)
    for name, frames in (("output", output), ("truth", truth)):
        luma = np.rint(rgb_to_y(frames)).astype(np.uint8)[:, None]
        planes = np.concatenate((luma, np.full_like(luma, 128), np.full_like(luma, 128)), 1)
        (tmp_path / name).write_bytes(planes.tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-video_size", "82x66", "-i"]
    graph = ["-lavfi", "[0:v][1:v]libvmaf=log_fmt=json:log_path=log.json", "-f", "null", "-"]
    command = [libvmaf, "-loglevel", "error", *raw, "output", *raw, "truth", *graph]
    subprocess.run(command, cwd=tmp_path, check=True)
    expected = parse_log((tmp_path / "log.json").read_text(), len(truth))
    np.testing.assert_allclose(measure(output, truth), expected, atol=1e-6)


def test_no_temporary_file_is_left(libvmaf, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    truth = video(2)
    measure(truth, truth)
    assert list(tmp_path.iterdir()) == []
    assert Path(shutil.which("ffmpeg") or "").is_file()
