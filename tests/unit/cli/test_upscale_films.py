"""`fedvsr upscale` for films: previews, comparisons, times, depth, sound, and models that are odd."""

from fractions import Fraction

import av
import numpy as np
import pytest

from fedvsr.trained import load_trained
from fedvsr.video.resize import upscale
from tests.unit.cli.upscale_inputs import ffmpeg, frame_times, write_model, write_picture
from tests.unit.tiny_run import read_video


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Returns a function that writes one of `odd_models`."""
    return lambda name: write_model(tmp_path_factory.mktemp("model"), name)


@pytest.fixture(scope="module")
def fastvsr(make_model):
    return make_model("fastvsr")


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
