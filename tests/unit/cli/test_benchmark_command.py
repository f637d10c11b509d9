"""`fedvsr benchmark` prints the papers' table."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from fedvsr.cli.tables import benchmark_table
from fedvsr.metrics import psnr, ssim
from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.testsets.registry import known_test_sets
from fedvsr.testsets.score import BenchmarkScores
from fedvsr.trained import save_converted
from fedvsr.video.degradations.registry import degradation_names, get_degradation
from fedvsr.video.resize import upscale

VID4 = {"calendar": 3, "city": 2, "foliage": 3, "walk": 4}
ROW = re.compile(r"│ (\S.*?) +│ +(\d+) │ +(\d+\.\d\d)/(\d\.\d{4}) │$", re.MULTILINE)


def picture(seed, frames, height=48, width=64):
    rows, columns = np.mgrid[:height, :width]
    waves = np.random.default_rng(seed).uniform(0.1, 0.9, (3, 2))
    planes = [
        [127.5 + 100 * np.sin(u * (rows + t)) * np.cos(v * (columns - t)) for u, v in waves]
        for t in range(frames)
    ]
    return np.uint8(np.rint(planes)).transpose(0, 2, 3, 1)


def write(folder, frames, names=None):
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        name = names[index] if names else f"{index:08d}"
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


@pytest.fixture(scope="module")
def vid4(tmp_path_factory):
    root = tmp_path_factory.mktemp("vid4")
    for seed, (clip, frames) in enumerate(VID4.items()):
        write(root / "GT" / clip, picture(seed, frames))
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network of random weights, as `fedvsr models convert` leaves it."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    options = {"channels": 4, "blocks": 1}
    network = build_model("fastvsr", 4, options)
    for parameter in network.parameters():  # as built, it is bicubic interpolation
        torch.nn.init.normal_(parameter, std=0.1)
    save_converted(folder, state_of(network), "fastvsr", 4, options, "test")
    return folder


def rows(output):
    assert output.code == 0, output.err
    return {name: (int(frames), float(a), float(b)) for name, frames, a, b in ROW.findall(output.out)}


def bicubic(frames, degradation, channel):
    output = upscale(get_degradation(degradation)(frames, 4), 4)
    return psnr(output, frames, channel=channel).mean(), ssim(output, frames, channel=channel).mean()


def assert_close(printed, expected):
    """Within the last printed digit: PyTorch's bicubic and MATLAB's may round a pixel differently."""
    assert printed == pytest.approx(expected, abs=0.011)


@pytest.mark.parametrize(("options", "degradation"), [([], "bi"), (["--degradation", "bd"], "bd")])
def test_the_table_of_bicubic_interpolation(fedvsr, vid4, options, degradation):
    output = fedvsr("benchmark", "vid4", "--root", vid4, "--model", "bicubic", *options)
    table = rows(output)
    title = f"Vid4 ×4 {degradation}, bicubic: PSNR/SSIM on Y (BT.601), border 0, all frames\n"
    assert title in output.out
    assert "warning" not in output.out
    assert list(table) == [*VID4, "mean"]
    scores = []
    for seed, (clip, frames) in enumerate(VID4.items()):
        scores.append(bicubic(picture(seed, frames), degradation, "y"))
        assert table[clip][0] == frames
        assert_close(table[clip][1:], scores[-1])
    # All clips count the same, although one is twice as long as another.
    assert_close(table["mean"][1:], np.mean(scores, 0))
    assert "note: Vid4 has 4 clips and 171 frames that count, but this folder has 4 and 12" in output.out


def test_progress_names_clip_and_test_set(fedvsr, vid4):
    output = fedvsr("benchmark", "vid4", "--root", vid4, "--model", "bicubic")
    lines = output.out.splitlines()
    assert lines[0] == "vid4 › calendar: 3/3"
    assert re.fullmatch(r"vid4: 1/4 calendar \d\d\.\d\d/0\.\d{4}", lines[1])


def test_reds4_in_its_own_layout_on_rgb(fedvsr, tmp_path):
    scores = []
    for seed, clip in enumerate(("000", "011", "015", "020")):
        frames = picture(seed, 2)
        write(tmp_path / "train_sharp" / clip, frames)
        write(tmp_path / "train_sharp_bicubic/X4" / clip, get_degradation("bi")(frames, 4))
        scores.append(bicubic(frames, "bi", "rgb"))
    output = fedvsr("benchmark", "reds4", "--root", tmp_path, "--model", "bicubic")
    assert "REDS4 ×4 bi, bicubic: PSNR/SSIM on RGB, border 0, all frames\n" in output.out
    assert_close(rows(output)["mean"], (8, *np.mean(scores, 0)))


def test_vimeo_counts_the_fourth_frame(fedvsr, tmp_path):
    (tmp_path / "sep_testlist.txt").write_text("00001/0266\n")
    names = [f"im{n}" for n in range(1, 8)]
    write(tmp_path / "sequences/00001/0266", picture(3, 7), names)
    output = fedvsr("benchmark", "vimeo90k-t", "--root", tmp_path, "--model", "bicubic")
    assert_close(rows(output)["mean"], (1, *bicubic(picture(3, 7)[3:4], "bi", "y")))
    assert "the centre frame\n" in output.out


def test_a_model_from_a_folder_scores_the_same_in_windows_and_tiles(fedvsr, vid4, model):
    arguments = ("benchmark", "vid4", "--root", vid4, "--model", model, "--device", "cpu")
    whole = fedvsr(*arguments, "--window", 0)
    assert "Vid4 ×4 bi, fastvsr: " in whole.out
    for options in ([], ["--window", 2], ["--tile", 8]):
        assert rows(fedvsr(*arguments, *options)) == rows(whole)
    for option in ("--self-ensemble", "--mirror"):
        assert rows(fedvsr(*arguments, option)) != rows(whole)


def test_features_of_a_recurrent_model_are_kept_on_the_cpu(fedvsr, vid4, model, tmp_path):
    options = {"channels": 4, "blocks": 1}
    save_converted(tmp_path, state_of(build_model("basicvsr", 4, options)), "basicvsr", 4, options, "test")
    arguments = ("benchmark", "vid4", "--root", vid4, "--device", "cpu", "--model")
    assert rows(fedvsr(*arguments, tmp_path, "--features-on-cpu")) == rows(fedvsr(*arguments, tmp_path))
    refused = fedvsr(*arguments, model, "--features-on-cpu")
    assert refused.code == 2
    assert "features_on_cpu: True is not allowed; FastVSR has no features that wait" in refused.err


def test_low_resolution_frames_of_another_phase_give_a_warning(fedvsr, tmp_path):
    frames = picture(0, 2)
    write(tmp_path / "GT/000", frames)
    write(tmp_path / "BDx4/000", get_degradation("bd")(frames, 4))
    output = fedvsr("benchmark", "udm10", "--root", tmp_path, "--model", "bicubic")
    assert f"warning: {tmp_path}/BDx4/000 is not what 'matlab-bd' makes of {tmp_path}/GT/000" in output.out
    assert_close(rows(output)["mean"], (2, *bicubic(frames, "bd", "y")))


def test_other_metrics_are_columns_and_many_clips_are_one_row():
    from rich.console import Console

    def text(scores):
        console = Console(width=100)
        with console.capture() as capture:
            console.print(benchmark_table(scores))
        return capture.get()

    few = text(
        [
            BenchmarkScores("a", 2, 30, 0.9, lpips=0.25, vmaf=80),
            BenchmarkScores("b", 2, 32, 0.8, lpips=0.5, vmaf=90),
        ]
    )
    assert re.search(r"clip +┃ frames ┃ +PSNR/SSIM ┃ +LPIPS ┃ +VMAF ┃", few)
    assert re.search(r"mean │ +4 │ 31\.00/0\.8500 │ 0\.3750 │ 85\.00 │", few)
    many = text([BenchmarkScores(f"00001/{n:04d}", 1, 30 + n, 0.9) for n in range(101)])
    assert re.search(r"mean of 101 clips │ +101 │ 80\.00/0\.9000 │", many)
    assert "00001/" not in many


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'TEST_SET'. See `fedvsr benchmark --help`."),
        (["vid4"], "Missing option '--root'. See `fedvsr benchmark --help`."),
        (["vid4", "--root", ".", "--round", "1"], "No such option '--round'."),
        (["set5", "--root", "."], "unknown test set 'set5'; known: reds4, udm10"),
        (["vid4", "--root", "/no/such"], "/no/such: no such folder; --root is the folder of Vid4"),
        (["vid4", "--root", ".", "--degradation", "rain"], "unknown degradation 'rain'"),
        (["vid4", "--root", ".", "--window", "-1"], "window"),
        (["vid4", "--root", ".", "--device", "abacus"], "'abacus' is not allowed"),
        (["vimeo90k-t", "--root", ".", "--vmaf"], "VMAF judges moving pictures"),
        (["vid4", "--root", ".", "--vmaf"], "VMAF needs an ffmpeg with libvmaf"),
    ],
)
def test_a_wrong_input_gives_one_sentence(fedvsr, vid4, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg
    arguments = [*(vid4 if argument == "." else argument for argument in arguments), "--model", "bicubic"]
    output = fedvsr("benchmark", *arguments)
    assert output.code == 2
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'RUN'. See `fedvsr evaluate --help`."),
        (["--dataset", "vid4", "--root", ".", "--vmaf"], "use `fedvsr benchmark TEST_SET --root PATH`."),
        (["--dataset=vid4"], "use `fedvsr benchmark TEST_SET --root PATH`."),
        (["tiny", "--dataset", "vid4"], "use `fedvsr benchmark TEST_SET --root PATH`."),
        (["tiny", "--root", "."], "No such option '--root'."),
        (["tiny", "--vmaf"], "No such option '--vmaf'."),
    ],
)
def test_evaluate_does_not_score_a_test_set(fedvsr, arguments, message):
    output = fedvsr("evaluate", *arguments)
    assert (output.code, output.out, output.err.count("\n")) == (2, "", 1)
    assert message in output.err


def test_help_names_every_test_set_and_degradation(fedvsr):
    output = fedvsr("benchmark", "--help")
    assert output.code == 0
    text = " ".join(output.out.split())
    assert "Score a model on a published test set." in text
    assert f"Test sets: {', '.join(known_test_sets())}." in text
    assert f"{', '.join(degradation_names())} (matlab-bd is the papers' BD)" in text


def test_help_loads_no_pytorch():
    script = (
        "import sys\n"
        "from fedvsr.cli.main import cli\n"
        "try:\n    cli(['benchmark', '--help'])\n"
        "finally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_model_that_does_not_exist(fedvsr, vid4, tmp_path):
    output = fedvsr("benchmark", "vid4", "--root", vid4, "--model", tmp_path / "none")
    assert (output.code, output.err.count("\n")) == (2, 1)
    assert "none/weights.safetensors" in output.err or "none: no such file" in output.err
