"""`fedvsr upscale` for films: stopping and going on, previews, comparisons, times, depth, odd models."""

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.trained import load_trained, save_converted
from fedvsr.video.resize import upscale
from tests.unit.tiny_run import read_video

FEDVSR = Path(sys.executable).with_name("fedvsr")
SEGMENT = 256
FILM_FRAMES = 400


def ffmpeg(*arguments):
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60
    )


def write_picture(path, *options, size="60x44", rate=25, frames=8):
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}", "-frames:v", frames, *options, path)
    return path


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Returns a function that writes a model of this folder as a user has it, with scale 2."""

    def make(name, scale=2):
        name = f"tests.unit.cli.odd_models:{name}" if name != "fastvsr" else name
        options = {"channels": 8, "blocks": 1} if name == "fastvsr" else {}
        network = build_model(name, scale, options)
        if name == "fastvsr":
            random = np.random.default_rng(0)
            for parameter in network.parameters():
                parameter.data.copy_(
                    parameter.new_tensor(random.normal(0, 0.1, tuple(parameter.shape)).astype(np.float32))
                )
        folder = tmp_path_factory.mktemp("model")
        save_converted(folder, state_of(network), name, scale, options, "a test")
        return folder

    return make


@pytest.fixture(scope="module")
def fastvsr(make_model):
    return make_model("fastvsr")


def frame_times(path):
    """Returns the times of a file's frames in seconds, in playing order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * Fraction(stream.time_base) for frame in container.decode(stream)]


def packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (packet.pts, packet.dts, packet.is_keyframe, bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None
        ]


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# Stopping, and going on


def stop_at(command, frames, number):
    """Runs a command until its log tells of a number of frames, and sends a signal."""
    program = subprocess.Popen(
        [FEDVSR, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The models of this folder are found there.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with program:
        for line in program.stdout:
            if f": {frames}/" in line:
                break
        program.send_signal(number)
        return program, program.stderr.read()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_picture(
        tmp_path_factory.mktemp("film") / "in.mkv", "-c:v", "ffv1", size="32x24", frames=FILM_FRAMES
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_a_stop_leaves_nothing_behind(film, make_model, tmp_path, number, code, name):
    command = ["upscale", film, tmp_path / name, "--model", make_model("Slow"), "--window", "8"]
    program, error = stop_at(command, 40, number)
    assert program.returncode == code
    assert error == "\nstopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_film_goes_on_and_ends_as_if_it_was_never_stopped(
    fedvsr, film, make_model, tmp_path, number, code
):
    model = make_model("Slow")
    command = ["upscale", film, tmp_path / "out.mp4", "--model", model, "--window", "24", "--resume"]
    program, error = stop_at(command, 280, number)
    assert program.returncode == code
    assert error == f"\nstopped; the same command goes on at frame {SEGMENT}\n"
    assert [path.name for path in tmp_path.iterdir()] == hidden(tmp_path) != []
    output = fedvsr(*command)
    assert (output.code, output.err) == (0, "")
    assert output.out.splitlines()[0] == f"{SEGMENT} frames are there, going on"
    assert hidden(tmp_path) == []
    whole = tmp_path / "whole.mp4"
    assert fedvsr("upscale", film, whole, "--model", model, "--window", "24", "--resume").code == 0
    assert packets(tmp_path / "out.mp4") == packets(whole)
    assert (tmp_path / "out.mp4").read_bytes() == whole.read_bytes()


def test_a_film_that_goes_on_keeps_the_sizes_that_memory_allowed_then(
    fedvsr, film, fastvsr, tmp_path, monkeypatch
):
    from fedvsr.cli import upscale as command_module

    command = ("upscale", film, tmp_path / "frames", "--model", fastvsr, "--resume")
    with monkeypatch.context() as patch:
        patch.setattr("fedvsr.video.encode.VideoWriter.write", stopping_after(5))
        output = fedvsr(*command, "--window", 3, "--tile", 16)
    assert output.code == 130
    assert output.err == "\nstopped; the same command goes on at frame 5\n"
    sizes = []
    prepare = command_module._prepare

    def record(*arguments):
        upscaler = prepare(*arguments)
        sizes.append((upscaler.sizes.frames, upscaler.sizes.tile))
        return upscaler

    monkeypatch.setattr(command_module, "_prepare", record)
    assert fedvsr(*command, "--duration", 1).code == 2  # another part of the film
    assert fedvsr(*command).code == 0
    assert sizes == [(3, 16), (3, 16)]
    assert len(list((tmp_path / "frames").iterdir())) == FILM_FRAMES


def stopping_after(frames):
    """Returns VideoWriter.write with a Ctrl-C after some frames."""
    from fedvsr.video.encode import VideoWriter

    write = VideoWriter.write

    def stop(writer, *arguments):
        if writer.frames_written == frames:
            raise KeyboardInterrupt
        write(writer, *arguments)

    return stop


# A part, and beside interpolation


def test_a_preview_has_the_frames_of_its_time(fedvsr, fastvsr, tmp_path):
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1", frames=30)
    target = tmp_path / "out.mkv"
    output = fedvsr("upscale", source, target, "--model", fastvsr, "--start", "0:00.4", "--duration", "0.4")
    assert (output.code, output.err) == (0, "")
    frames, _ = read_video(source)
    expected = load_trained(fastvsr).upscale(frames[10:20], "cpu")
    np.testing.assert_allclose(read_video(target)[0].astype(int), expected, atol=1)
    assert frame_times(target) == [Fraction(number, 25) for number in range(10)]
    assert output.out.splitlines()[-1] == f"{target}: 10 frames of 120×88"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--start", "5"], "choose an earlier start"),
        (["--duration", "0"], "--duration"),
        (["--start", "1:99"], "is not a time"),
    ],
)
def test_a_part_without_frames_is_refused(fedvsr, fastvsr, tmp_path, arguments, part):
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1")
    output = fedvsr("upscale", source, tmp_path / "out.mkv", "--model", fastvsr, *arguments)
    assert output.code == 2
    assert part in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_a_comparison_has_bicubic_interpolation_on_the_left(fedvsr, fastvsr, tmp_path):
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1", frames=5)
    target = tmp_path / "out.mkv"
    output = fedvsr("upscale", source, target, "--model", fastvsr, "--compare", "--window", 2)
    assert (output.code, output.err) == (0, "")
    assert output.out.splitlines()[-1] == f"{target}: 5 frames of 240×88"
    both, frames = read_video(target)[0].astype(int), read_video(source)[0]
    np.testing.assert_allclose(both[:, :, 120:], load_trained(fastvsr).upscale(frames, "cpu"), atol=1)
    np.testing.assert_allclose(both[:, :, :120], upscale(frames, 2), atol=1)
    assert np.abs(both[:, :, 120:] - both[:, :, :120]).mean() > 1


def test_the_double_width_of_a_comparison_is_checked(fedvsr, make_model, tmp_path):
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1", size="4112x16", frames=1)
    command = ("upscale", source, tmp_path / "out.mp4", "--model", make_model("Twice"))
    output = fedvsr(*command, "--compare")
    assert output.code == 2
    assert "16448×32" in output.err
    assert fedvsr(*command).code == 0


# Times, depth, sound


def test_frames_keep_their_times_and_the_sound_goes_along(fedvsr, fastvsr, tmp_path):
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=32x24:r=30:d=3"),
        *("-f", "lavfi", "-i", "sine=d=3"),
        *("-vf", "select='lt(t,0.5)+not(mod(n,30))'", "-fps_mode", "vfr", "-c:v", "libx264"),
        *("-c:a", "aac", tmp_path / "in.mp4"),
    )
    for name in ("out.mp4", "out.mkv"):
        output = fedvsr("upscale", tmp_path / "in.mp4", tmp_path / name, "--model", fastvsr)
        assert (output.code, output.err) == (0, "")
        before, after = frame_times(tmp_path / "in.mp4"), frame_times(tmp_path / name)
        assert len(after) == len(before) == 17
        # Where a container has no times below 0, everything starts later by the sound's lead-in.
        shown = [float(time - after[0]) for time in after]
        assert shown == pytest.approx([float(time - before[0]) for time in before], abs=1e-3)
        assert after[0] < Fraction(3, 100)
        with av.open(str(tmp_path / name)) as container:
            assert len(container.streams.audio) == 1
    output = fedvsr(
        "upscale", tmp_path / "in.mp4", tmp_path / "mute.mp4", "--model", fastvsr, "--pictures-only"
    )
    assert output.code == 0
    with av.open(str(tmp_path / "mute.mp4")) as container:
        assert len(container.streams) == 1


def test_a_late_picture_stays_late(fedvsr, fastvsr, tmp_path):
    ffmpeg(
        *("-itsoffset", "1", "-f", "lavfi", "-i", "testsrc2=s=32x24:r=25:d=1"),
        *("-f", "lavfi", "-i", "sine=d=2", "-c:v", "libx264", "-c:a", "aac", tmp_path / "in.mkv"),
    )
    assert fedvsr("upscale", tmp_path / "in.mkv", tmp_path / "out.mkv", "--model", fastvsr).code == 0
    assert float(frame_times(tmp_path / "out.mkv")[0]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("name", "options", "pixel_format"),
    [
        ("out.mkv", [], "gbrp10le"),
        ("out.mp4", ["--codec", "h265"], "yuv420p10le"),
        ("out.mp4", [], "yuv420p"),
    ],
)
def test_ten_bits_stay_ten_bits_if_the_codec_has_them(fedvsr, fastvsr, tmp_path, name, options, pixel_format):
    source = write_picture(
        tmp_path / "in.mkv", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none"
    )
    output = fedvsr("upscale", source, tmp_path / name, "--model", fastvsr, *options)
    assert (output.code, output.err) == (0, "")
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].pix_fmt == pixel_format


def test_wide_pixels_stay_wide(fedvsr, fastvsr, tmp_path):
    source = write_picture(tmp_path / "in.mkv", "-vf", "setsar=64/45", "-c:v", "ffv1")
    assert fedvsr("upscale", source, tmp_path / "out.mp4", "--model", fastvsr).code == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


def test_damaged_frames_can_be_skipped_and_are_listed(fedvsr, fastvsr, tmp_path):
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in" / "%03d.png", "-start_number", "0", frames=6)
    damaged = tmp_path / "in" / "002.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    command = ("upscale", tmp_path / "in", tmp_path / "out.mkv", "--model", fastvsr)
    assert fedvsr(*command).code == 2
    assert not (tmp_path / "out.mkv").exists()
    output = fedvsr(*command, "--skip-damaged")
    assert (output.code, output.err) == (0, "")
    assert "note: these frames do not decode and were skipped: 2\n" in output.out
    assert [float(time) for time in frame_times(tmp_path / "out.mkv")] == pytest.approx(
        [number / 24 for number in (0, 1, 3, 4, 5)], abs=1e-3
    )


# Models


@pytest.mark.parametrize("options", [[], ["--tile", 32], ["--tile", 0], ["--self-ensemble"]])
def test_a_model_for_multiples_of_8_upscales_any_size(fedvsr, make_model, tmp_path, options):
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1", frames=3)
    model = make_model("MultiplesOf8")
    output = fedvsr("upscale", source, tmp_path / "out.mkv", "--model", model, *options)
    assert (output.code, output.err) == (0, "")
    frames, upscaled = read_video(source)[0].astype(float), read_video(tmp_path / "out.mkv")[0]
    assert upscaled.shape == (3, 88, 120, 3)
    if "--self-ensemble" not in options:  # which also cuts blocks of 8 from the other end
        padded = np.pad(frames, ((0, 0), (0, 4), (0, 4), (0, 0)), mode="reflect")
        means = padded.reshape(3, 6, 8, 8, 8, 3).mean((2, 4)).repeat(8, 1).repeat(8, 2)[:, :44, :60]
        expected = (0.75 * frames + 0.25 * means).repeat(2, 1).repeat(2, 2)
        assert np.abs(upscaled - expected).max() <= 0.51


@pytest.mark.parametrize("options", [[], ["--window", 2, "--tile", 16], ["--self-ensemble"]])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("AlwaysNotFinite", "must be finite"),
        ("NotFinite", "must be finite"),
        ("OneRowShort", "must have the shape"),
        ("ThreeTimes", "must have the shape"),
    ],
)
def test_a_model_with_a_wrong_output_writes_nothing(fedvsr, make_model, tmp_path, name, part, options):
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1", frames=3)
    for target in ("out.mp4", "out"):
        output = fedvsr("upscale", source, tmp_path / target, "--model", make_model(name), *options)
        assert output.code == 2
        assert output.err.startswith(f"error: model {name}: ")
        assert part in output.err
        assert output.err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_the_wrong_option_for_a_device_is_named(fedvsr, tmp_path):
    for command in (
        ("upscale", "in.mp4", "out.mp4", "--device", "cuda:77"),
        ("benchmark", "vid4", "--root", tmp_path, "--device", "cuda:77"),
    ):
        output = fedvsr(*command)
        assert output.code == 2
        assert output.err.startswith("error: --device: 'cuda:77' is not allowed; ")


def test_too_little_memory_is_one_sentence(fedvsr, fastvsr, tmp_path, monkeypatch):
    def allocate(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("fedvsr.inference.windows.upscale_tiles", allocate)
    source = write_picture(tmp_path / "in.mkv", "-c:v", "ffv1", frames=3)
    output = fedvsr("upscale", source, tmp_path / "out.mp4", "--model", fastvsr, "--window", 2, "--tile", 16)
    assert output.code == 2
    assert "windows of 2 frames and tiles of 16 pixels; use a smaller --window or --tile" in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
