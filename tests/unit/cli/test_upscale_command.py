"""`fedvsr upscale`: any length, any output, and the same frames for every window and tile."""

import shutil

import cv2
import numpy as np
import pytest

from fedvsr.tracking.connection import connect
from fedvsr.tracking.model_registry import download_model
from fedvsr.video.encode import VideoWriter
from tests.unit.tiny_run import RUN, read_video, write_video

FRAMES = 21


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "in.avi"
    write_video(path, 5, frames=FRAMES, size=(32, 40), fps=12.5)
    return path


@pytest.fixture(scope="module")
def model(finished, tmp_path_factory):
    """The trained model as a folder, as a user copies it out of the registry."""
    (weights,) = finished.store.rglob("artifacts/artifacts/model/weights.safetensors")
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(weights.parent, folder)
    return folder


@pytest.fixture(scope="module")
def expected(finished, source):
    """The whole video through the network at once."""
    from fedvsr.config.experiment import TrackingConfig

    connection = connect(TrackingConfig(), str(finished.store))
    trained = download_model(connection, "models:/fedvsr@challenger")
    return trained.upscale(read_video(source)[0], "cpu")


def assert_same(frames, expected):
    """Checks equality, except for one value in ten thousand that rounds the other way."""
    assert frames.shape == expected.shape
    difference = np.abs(frames.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference) < 1e-4


def images(folder):
    paths = sorted(folder.iterdir())
    return paths, np.stack([cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths])


@pytest.mark.parametrize("window", [0, 1, 4, 16])
@pytest.mark.parametrize("tile", [0, 16])
def test_windows_and_tiles_do_not_change_a_pixel(fedvsr, source, model, expected, tmp_path, window, tile):
    target = tmp_path / "out.avi"
    output = fedvsr("upscale", source, target, "--model", model, "--window", window, "--tile", tile)
    assert (output.code, output.err) == (0, "")
    frames, fps = read_video(target)
    assert fps == 12.5
    assert_same(frames, expected)
    assert output.out.splitlines()[-1] == f"{target}: {FRAMES} frames of 80×64"


def test_mp4_keeps_frames_and_rate(fedvsr, source, model, expected, tmp_path):
    assert fedvsr("upscale", source, tmp_path / "out.mp4", "--model", model).code == 0
    frames, fps = read_video(tmp_path / "out.mp4")
    assert (frames.shape, fps) == (expected.shape, 12.5)
    assert np.abs(frames.astype(int) - expected).mean() < 25  # it is lossy; another frame is 75 away


def test_folders_in_and_out(fedvsr, source, model, expected, tmp_path):
    frames, _ = read_video(source)
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"in/{number}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    assert fedvsr("upscale", tmp_path / "in", tmp_path / "out", "--model", model).code == 0
    paths, written = images(tmp_path / "out")
    assert [path.name for path in paths] == [f"{number:08d}.png" for number in range(FRAMES)]
    assert_same(written, expected)


@pytest.mark.parametrize("name", ["models:/fedvsr@challenger", "models:/fedvsr/1"])
def test_a_registered_model(fedvsr, finished, source, expected, tmp_path, name):
    target = tmp_path / "out.avi"
    output = fedvsr("upscale", source, target, "--model", name, "--store", finished.store)
    assert (output.code, output.err) == (0, "")
    assert_same(read_video(target)[0], expected)


def test_the_weights_file_itself(fedvsr, source, model, expected, tmp_path):
    weights = model / "weights.safetensors"
    assert fedvsr("upscale", source, tmp_path / "out.avi", "--model", weights).code == 0
    assert_same(read_video(tmp_path / "out.avi")[0], expected)


def test_the_frames_in_memory_do_not_grow_with_the_video(fedvsr, source, model, tmp_path, monkeypatch):
    """Reading is never ahead of writing by more than a window and its overlap on both sides."""
    from fedvsr.video.decode import VideoReader

    read, ahead = 0, []
    timed_frames, write = VideoReader.timed_frames, VideoWriter.write

    def count_read(reader):
        nonlocal read
        for frame in timed_frames(reader):
            read += 1
            yield frame

    def count_written(writer, *arguments):
        ahead.append(read - writer.frames_written)
        write(writer, *arguments)

    monkeypatch.setattr(VideoReader, "timed_frames", count_read)
    monkeypatch.setattr(VideoWriter, "write", count_written)
    command = ("upscale", source, tmp_path / "out.avi", "--model", model, "--window", 4)
    assert fedvsr(*command).code == 0
    assert len(ahead) == read == FRAMES
    assert max(ahead) <= 4 + 1  # fastvsr uses one frame on either side


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["none.mp4", "out.mp4"], ["none.mp4", "no such file"]),
        (["in.avi", "in.avi"], ["in.avi is the input"]),
        (["in.avi", "./in.avi"], ["in.avi is the input"]),
        (["text.mp4", "out.mp4"], ["text.mp4", "cannot be opened as a video"]),
        (["in.avi", "out.gif"], ["out.gif", ".mp4", ".mkv"]),
        (["in.avi", "out.mp4", "--model", "nothing"], ["nothing", "models:/NAME@ALIAS"]),
        (["in.avi", "out.mp4", "--model", "models:/fedvsr@best"], ["models:/fedvsr@best", "fedvsr promote"]),
        (["in.avi", "out.mp4", "--model", "models:/fedvsr/99"], ["models:/fedvsr/99"]),
        (["in.avi", "out.mp4", "--model", "models:/fedvsr"], ["models:/fedvsr", "models:/NAME/VERSION"]),
        (["in.avi", "out.mp4", "--window", "-1"], ["window", "-1"]),
        (["in.avi", "out.mp4", "--device", "abacus"], ["'abacus'", "auto, cpu"]),
        (["in.avi", "out.mp4", "--model", "models:/fedvsr/1", "--features-on-cpu"], ["features_on_cpu"]),
    ],
    ids=lambda value: " ".join(value) if len(value) > 1 and value[1].startswith(("out", "in", "./")) else "",
)
def test_wrong_arguments_are_refused(fedvsr, finished, source, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    shutil.copy(source, "in.avi")
    (tmp_path / "text.mp4").write_text("no video")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    output = fedvsr("upscale", *arguments, "--store", finished.store)
    assert output.code == 2, output.err
    assert output.err.count("\n") == 1
    for part in parts:
        assert part in output.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("damage", ["weights", "record", "other weights"])
def test_a_damaged_model_is_refused(fedvsr, source, model, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    weights = folder / "weights.safetensors"
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif damage == "other weights":
        weights.write_bytes(bytes(len(weights.read_bytes())))
    else:
        (folder / "model.json").write_text("{}")
    output = fedvsr("upscale", source, tmp_path / "out.mp4", "--model", folder)
    assert output.code == 1
    assert str(weights if "weights" in damage else folder / "model.json") in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_that_ends_early_leaves_nothing(fedvsr, source, model, tmp_path):
    (tmp_path / "cut.avi").write_bytes(source.read_bytes()[:-20000])
    output = fedvsr("upscale", tmp_path / "cut.avi", tmp_path / "out.avi", "--model", model)
    assert output.code == 2
    assert "cut.avi" in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.avi"]


def test_a_new_challenger_is_not_champion_yet(fedvsr, finished, source, tmp_path):
    output = fedvsr("upscale", source, tmp_path / "out.mp4", "--store", finished.store)
    assert output.code == 2
    assert "models:/fedvsr@champion" in output.err
    assert RUN not in output.err
