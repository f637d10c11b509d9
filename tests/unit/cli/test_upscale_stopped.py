"""A stopped `fedvsr upscale` leaves nothing behind, or what the same command goes on from."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.unit.cli.upscale_inputs import write_model, write_picture

FEDVSR = Path(sys.executable).with_name("fedvsr")
SEGMENT = 256
FILM_FRAMES = 400


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Returns a function that writes one of `odd_models`."""
    return lambda name: write_model(tmp_path_factory.mktemp("model"), name)


@pytest.fixture(scope="module")
def fastvsr(make_model):
    return make_model("fastvsr")


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


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "out.mp4"), (signal.SIGTERM, 143, "frames")]
)
def test_a_stop_leaves_nothing_behind(film, make_model, tmp_path, number, code, name):
    command = ["upscale", film, tmp_path / name, "--model", make_model("Slow"), "--window", "8"]
    program, error = stop_at(command, 40, number)
    assert program.returncode == code
    assert error == "\nstopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_film_goes_on_and_ends_as_if_it_was_never_stopped(fedvsr, film, make_model, tmp_path):
    model = make_model("Slow")
    command = ["upscale", film, tmp_path / "out.mp4", "--model", model, "--window", "24", "--resume"]
    program, error = stop_at(command, 280, signal.SIGTERM)
    assert program.returncode == 143
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
