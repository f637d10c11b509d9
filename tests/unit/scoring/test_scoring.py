"""Scores of frames, their means, and the pictures of details."""

import io
import math

import cv2
import numpy as np
import pytest
import torch

from fedvsr.errors import InputError
from fedvsr.metrics import mean_psnr, psnr, ssim
from fedvsr.metrics.psnr import PSNR_LIMIT
from fedvsr.models.registry import build_model
from fedvsr.scoring.clip_scores import ClipScores, mean_over_frames
from fedvsr.scoring.clips import score_bicubic, score_frames, score_model
from fedvsr.scoring.details import cut_detail, draw_details
from fedvsr.scoring.lpips import LPIPS_WEIGHTS_VARIABLE, open_lpips
from fedvsr.scoring.scorer import Scorer, exact_mean, mean_if_measured
from fedvsr.video.patches import ClipPair
from fedvsr.video.resize import downscale, upscale

CHANNELS = ("rgb", "y")


def noise(seed, shape=(11, 24, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def noisy(frames, seed=9):
    errors = np.random.default_rng(seed).integers(-12, 13, frames.shape)
    return np.clip(frames.astype(int) + errors, 0, 255).astype(np.uint8)


def mean_difference(output, truth, border):
    """Stands in for LPIPS: returns the mean difference of each pair of frames."""
    inside = np.s_[:, border : truth.shape[1] - border, border : truth.shape[2] - border]
    return np.abs(output[inside].astype(float) - truth[inside]).mean((1, 2, 3))


class RecordingVmaf:
    def __init__(self):
        self.pairs = []

    def add(self, output, truth):
        self.pairs.append((output, truth))


def test_frames_one_by_one_have_the_scores_of_the_whole_clip():
    truth = noise(1)
    output = noisy(truth)
    whole, streamed = (Scorer(CHANNELS, 2, mean_difference) for _ in range(2))
    whole.add(output, truth)
    for index in range(len(truth)):
        streamed.add(output[index : index + 1], truth[index : index + 1])
    assert (streamed.frames, whole.frames) == (11, 11)
    assert streamed.psnr == whole.psnr
    assert streamed.ssim == whole.ssim
    assert streamed.lpips == whole.lpips
    assert len(whole.lpips) == 11


def test_every_metric_leaves_out_the_border():
    truth, vmaf = noise(1), RecordingVmaf()
    output = truth.copy()
    output[:, :3] = 0
    output[:, :, -3:] = 255
    scorer = Scorer(CHANNELS, 3, mean_difference, vmaf)
    scorer.add(output, truth)
    assert scorer.psnr == {channel: [PSNR_LIMIT] * 11 for channel in CHANNELS}
    assert scorer.ssim["rgb"] == pytest.approx([1] * 11)
    assert scorer.lpips == [0] * 11
    assert len(vmaf.pairs) == 11
    for (output_frame, true_frame), frame in zip(vmaf.pairs, truth, strict=True):
        np.testing.assert_array_equal(output_frame, frame[3:-3, 3:-3])
        np.testing.assert_array_equal(true_frame, frame[3:-3, 3:-3])


@pytest.mark.parametrize("border", [0, 4])
def test_the_means_of_a_round_keep_their_bits(border):
    """The bytes of evaluation.json must not depend on the version of fedvsr."""
    truth = noise(2, (19, 32, 40, 3))
    output = noisy(truth)
    output[3] = truth[3]
    scores = score_frames("clip", output, truth, border, mean_difference)
    for channel in CHANNELS:
        ratios = np.minimum(psnr(output, truth, border, channel), 100)
        assert getattr(scores, f"psnr_{channel}") == mean_psnr(ratios)
        similarities = ssim(output, truth, border, channel)
        assert getattr(scores, f"ssim_{channel}") == math.fsum(similarities) / 19
    assert scores.lpips == math.fsum(mean_difference(output, truth, border)) / 19
    assert scores.frames == 19


def test_a_score_that_is_not_measured_is_none():
    truth = noise(1)
    assert score_frames("clip", noisy(truth), truth, 0).lpips is None
    assert mean_if_measured([]) is None
    assert mean_if_measured([1, 2]) == 1.5


def test_the_order_of_the_numbers_does_not_change_an_exact_mean():
    values = [1e16, 1.0, -1e16, 3.0]
    assert exact_mean(values) == exact_mean(sorted(values)) == 1


def test_a_long_clip_counts_more_in_the_mean_over_frames():
    short, long = (
        ClipScores(clip=name, frames=frames, psnr_rgb=0, psnr_y=value, ssim_rgb=0, ssim_y=0)
        for name, frames, value in (("short", 1, 20), ("long", 3, 40))
    )
    assert mean_over_frames((short, long), "psnr_y") == 35


def test_the_json_of_a_clips_scores():
    scores = ClipScores(clip="a", frames=2, psnr_rgb=30.5, psnr_y=31, ssim_rgb=0.5, ssim_y=0.25)
    assert scores.model_dump_json() == (
        '{"clip":"a","frames":2,"psnr_rgb":30.5,"psnr_y":31.0,"ssim_rgb":0.5,"ssim_y":0.25,"lpips":null}'
    )


def test_a_model_and_bicubic_interpolation_on_clips():
    truth = cv2.GaussianBlur(noise(3, (24, 30, 9)), (0, 0), 2).reshape(24, 30, 3, 3).transpose(2, 0, 1, 3)
    clips = [ClipPair("clip", truth, downscale(truth, 2), 2)]
    scores, (detail,) = score_model(build_model("bicubic", 2), clips, torch.device("cpu"), 0)
    (bicubic,) = score_bicubic(clips, 0)
    assert bicubic == score_frames("clip", upscale(downscale(truth, 2), 2), truth, 0)
    assert scores[0].psnr_y == pytest.approx(bicubic.psnr_y, abs=0.05)
    assert (scores[0].clip, scores[0].frames, detail.clip) == ("clip", 3, "clip")


def test_an_environment_variable_names_the_weights_of_lpips(monkeypatch, tmp_path):
    pytest.importorskip("lpips", reason="pip install fedvsr[lpips]")
    monkeypatch.setenv(LPIPS_WEIGHTS_VARIABLE, str(tmp_path / "nothing.safetensors"))
    with pytest.raises(InputError, match=r"no file .*nothing\.safetensors"):
        open_lpips(torch.device("cpu"))


def detailed_at(top, left, height=240, width=320):
    """Grey frames with noise in one place."""
    truth = np.full((3, height, width, 3), 100, np.uint8)
    truth[:, top : top + 96, left : left + 96] = noise(4, (96, 96, 3))
    return truth


def test_a_detail_is_the_most_detailed_part_of_the_middle_frame():
    truth = detailed_at(40, 200)
    output = truth.copy()
    output[1] = noisy(truth[1])
    detail = cut_detail("clip", downscale(truth, 2), output, truth, 2)
    np.testing.assert_array_equal(detail.ground_truth, truth[1, 40:136, 200:296])
    np.testing.assert_array_equal(detail.output, output[1, 40:136, 200:296])
    assert detail.bicubic.shape == (96, 96, 3)
    assert detail.output_psnr == psnr(output[1:2], truth[1:2], channel="y").item()
    bicubic = upscale(downscale(truth[1:2], 2), 2)
    assert detail.bicubic_psnr == psnr(bicubic, truth[1:2], channel="y").item()


def test_a_frame_smaller_than_a_detail_is_shown_whole():
    truth = noise(5, (1, 40, 60, 3))
    detail = cut_detail("clip", downscale(truth, 2), truth, truth, 2)
    np.testing.assert_array_equal(detail.ground_truth, truth[0])


def test_the_same_details_give_the_same_png():
    truth = detailed_at(0, 0)
    details = [cut_detail("clip", downscale(truth, 2), truth, truth, 2)] * 2
    first, second = io.BytesIO(), io.BytesIO()
    draw_details(details, "model", first)
    draw_details(details, "model", second)
    assert first.getvalue() == second.getvalue()
    picture = cv2.imdecode(np.frombuffer(first.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (598, 858, 3)
