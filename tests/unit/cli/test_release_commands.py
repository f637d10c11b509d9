"""evaluate, report, register, promote, models and strategies, as a user calls them."""

import re

import numpy as np
import pytest
from mlflow import MlflowClient

from fedvsr.federation import layout
from fedvsr.metrics import psnr, ssim
from fedvsr.models.registry import build_model, model_names
from fedvsr.models.state import load_state
from fedvsr.strategies.registry import strategy_names
from fedvsr.video.resize import downscale, upscale
from fedvsr.weights import WeightsFile
from tests.unit.tiny_run import RUN, read_video


def rows(text):
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


@pytest.mark.parametrize("round_number", [0, 1, 2])
def test_evaluate_prints_the_scores_of_a_rounds_weights(copied, fedvsr, videos, round_number):
    """The expected numbers come from the video, the weights and the metrics, without the code under test."""
    import torch

    truth, _ = read_video(videos / "held-out" / "clip.avi")
    low = downscale(truth, 2)
    network = build_model("fastvsr", 2, {"channels": 8, "blocks": 1}).eval()
    path = copied.workspace.federation().root / layout.global_weights(RUN, round_number)
    load_state(network, WeightsFile(path).load(), "weights")
    with torch.inference_mode():
        output = network(torch.from_numpy(low).permute(0, 3, 1, 2)[None].float() / 255)
    ours = np.uint8(np.rint(output[0].clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255))
    floor = upscale(low, 2)

    output = fedvsr("evaluate", RUN, "--round", round_number, "--store", copied.store)
    assert (output.code, output.err) == (0, "")
    (clip,) = [row for row in rows(output.out) if row[0] == "clip" and row[1].isdigit()]
    expected = [
        np.mean(psnr(ours, truth, channel="y")),
        np.mean(psnr(floor, truth, channel="y")),
        np.mean(psnr(ours, truth, channel="y")) - np.mean(psnr(floor, truth, channel="y")),
        np.mean(psnr(ours, truth)),
        np.mean(list(ssim(ours, truth, channel="y"))),
        np.mean(list(ssim(ours, truth))),
    ]
    assert clip[1] == "10"
    np.testing.assert_allclose([float(cell) for cell in clip[2:8]], expected, atol=0.0051)


def test_evaluate_takes_the_last_round(copied, fedvsr):
    last = fedvsr("evaluate", RUN, "--store", copied.store)
    assert last.out == fedvsr("evaluate", RUN, "--round", 2, "--store", copied.store).out


def test_report_writes_the_requested_file(finished, fedvsr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fedvsr("report", RUN, "--store", finished.store).out == f"{RUN}.html\n"
    fedvsr("report", RUN, "--store", finished.store, "--output", "other.html")
    made = (tmp_path / "other.html").read_text()
    assert made == (tmp_path / f"{RUN}.html").read_text()
    assert made.startswith("<!doctype html>")


def test_the_store_may_come_from_the_environment(finished, fedvsr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDVSR_STORE", str(finished.store))
    assert fedvsr("report", RUN).code == 0


def test_register_twice_gives_one_version(copied, fedvsr):
    outputs = [fedvsr("register", RUN, "--store", copied.store) for _ in range(2)]
    assert [output.code for output in outputs] == [0, 0]
    assert outputs[0].out == outputs[1].out
    assert re.fullmatch(r"fedvsr version 1 is round \d of tiny: challenger\n", outputs[0].out)
    assert len(MlflowClient(copied.tracking_uri).search_model_versions("name = 'fedvsr'")) == 1


def test_register_under_another_name(copied, fedvsr):
    output = fedvsr("register", RUN, "--store", copied.store, "--name", "other")
    assert output.out.startswith("other version 1 is round")
    client = MlflowClient(copied.tracking_uri)
    assert client.get_model_version_by_alias("other", "challenger").tags["fedvsr.run"] == RUN
    assert client.get_run(client.get_model_version("other", "1").run_id).info.status == "FINISHED"


def test_promote_prints_both_scores_and_moves_the_alias(copied, fedvsr):
    client = MlflowClient(copied.tracking_uri)
    output = fedvsr("promote", "--store", copied.store, "--threshold", "-5")
    assert (output.code, output.err) == (0, "")
    scores = re.search(r"challenger version 1: ([\d.]+) dB, bicubic interpolation: ([\d.]+) dB", output.out)
    assert scores
    assert output.out.endswith("fedvsr version 1 is champion\n")
    assert client.get_model_version_by_alias("fedvsr", "champion").version == 1
    again = fedvsr("promote", "--store", copied.store)
    assert (again.code, again.out) == (0, "fedvsr version 1 is champion already\n")


def test_promote_refuses_a_challenger_that_is_not_better(copied, fedvsr):
    output = fedvsr("promote", "--store", copied.store, "--threshold", "50")
    assert (output.code, output.err) == (1, "")
    assert output.out.endswith("not promoted: it must be better by 50.0 dB (--force)\n")
    assert "champion" not in MlflowClient(copied.tracking_uri).get_registered_model("fedvsr").aliases
    forced = fedvsr("promote", "--store", copied.store, "--threshold", "50", "--force")
    assert (forced.code, forced.out) == (0, "fedvsr version 1 is champion\n")


@pytest.mark.parametrize(("command", "names"), [("models", model_names()), ("strategies", strategy_names())])
def test_catalogues_list_every_name(fedvsr, command, names):
    output = fedvsr(command)
    assert (output.code, output.err) == (0, "")
    assert set(names) <= {row[0] for row in rows(output.out)}
