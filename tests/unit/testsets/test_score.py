"""Each test set's convention, checked with numbers that can be computed by hand."""

from itertools import count

import numpy as np
import pytest

from fedvsr.errors import VideoError
from fedvsr.metrics.color import rgb_to_y
from fedvsr.testsets import score
from fedvsr.testsets.base import ClipFolders
from fedvsr.testsets.degradation_check import describe_mismatch
from fedvsr.testsets.registry import get_test_set, known_test_sets
from fedvsr.testsets.score import BenchmarkScores, mean_over_clips, score_test_set
from fedvsr.video.degradations.registry import get_degradation

BI = get_degradation("bi")
SCALE = 4
GREY = 100


def off_by(errors):
    """Returns an upscaler that repeats pixels and adds one error per frame, broadcast over (H, W, 3)."""

    def upscale(frames):
        for index, frame in enumerate(frames):
            large = frame.repeat(SCALE, 0).repeat(SCALE, 1)
            yield (large + np.broadcast_to(errors[index], large.shape)).astype(np.uint8)

    return upscale


def grey(frames):
    return np.full((frames, 48, 64, 3), GREY, np.uint8)


@pytest.fixture
def score_errors(tmp_path, write_frames):
    """Scores an upscaler with these errors on a plain grey clip, which no degradation changes."""
    numbers = count()

    def score_errors(name, errors, **arguments):
        folder = tmp_path / str(next(numbers))
        write_frames(folder, grey(len(errors)))
        clips = [ClipFolders("clip", folder, None)]
        (scores,) = score_test_set(get_test_set(name), clips, off_by(errors), BI, SCALE, **arguments)
        return scores

    return score_errors


def psnr_of(squared_error):
    return 10 * np.log10(255**2 / squared_error)


def test_reds4_is_scored_on_rgb(score_errors):
    red = np.array((10, 0, 0))
    assert score_errors("reds4", [red] * 3).psnr == pytest.approx(psnr_of(100 / 3))


@pytest.mark.parametrize("name", ["vid4", "udm10", "vimeo90k-t"])
def test_the_others_are_scored_on_luma(score_errors, name):
    for channel, weight in enumerate((65.481, 128.553, 24.966)):
        error = 10 * np.eye(3, dtype=int)[channel]
        assert score_errors(name, [error] * 3).psnr == pytest.approx(psnr_of((10 * weight / 255) ** 2))


@pytest.mark.parametrize("name", ["reds4", "vid4", "udm10", "vimeo90k-t"])
def test_no_border_is_left_out(score_errors, name):
    corner = np.zeros((48, 64, 3), int)
    corner[0, 0] = 20
    squared = 20**2 if name == "reds4" else (20 * 219 / 255) ** 2
    assert score_errors(name, [corner] * 3).psnr == pytest.approx(psnr_of(squared / (48 * 64)))


@pytest.mark.parametrize("name", ["reds4", "vid4", "udm10"])
def test_all_frames_count_the_same_and_the_mean_is_of_decibels(score_errors, name):
    scores = score_errors(name, [2, 4, 8])
    factor = 1 if name == "reds4" else 219 / 255
    assert scores.frames == 3
    assert scores.psnr == pytest.approx(np.mean([psnr_of((factor * error) ** 2) for error in (2, 4, 8)]))


def test_only_the_fourth_of_seven_frames_of_vimeo_counts(score_errors):
    scores = score_errors("vimeo90k-t", [50, 60, 70, 5, 80, 90, 100])
    assert scores.frames == 1
    assert scores.psnr == pytest.approx(psnr_of((5 * 219 / 255) ** 2))


def test_ssim_of_two_plain_frames(score_errors):
    x, y = (rgb_to_y(np.full(3, value, np.uint8)).item() for value in (GREY, GREY + 20))
    constant = (0.01 * 255) ** 2
    expected = (2 * x * y + constant) / (x**2 + y**2 + constant)
    assert score_errors("vid4", [20] * 2).ssim == pytest.approx(expected, abs=1e-12)


def test_a_frame_without_any_error_counts_as_100_db(score_errors):
    assert score_errors("reds4", [0, 1]).psnr == pytest.approx((100 + psnr_of(1)) / 2)
    assert score_errors("reds4", [0]).ssim == 1


def test_every_clip_counts_the_same_in_the_mean_over_clips(tmp_path, write_frames):
    lengths = {"short": 1, "long": 3}
    for name, frames in lengths.items():
        write_frames(tmp_path / name, grey(frames))
    clips = [ClipFolders(name, tmp_path / name, None) for name in lengths]
    scores = score_test_set(get_test_set("reds4"), clips, off_by([1, 9, 9]), BI, SCALE)
    mean = mean_over_clips(scores)
    assert [clip.clip for clip in scores] == ["short", "long"]
    assert (mean.clip, mean.frames, mean.lpips, mean.vmaf) == ("mean", 4, None, None)
    assert mean.psnr == pytest.approx((psnr_of(1) + np.mean([psnr_of(1), psnr_of(81), psnr_of(81)])) / 2)
    assert mean.ssim == pytest.approx((scores[0].ssim + scores[1].ssim) / 2)


def test_ready_made_low_resolution_is_used(tmp_path, write_frames):
    write_frames(tmp_path / "truth", grey(2))
    write_frames(tmp_path / "low", np.full((2, 12, 16, 3), GREY + 3, np.uint8))
    clips = [ClipFolders("clip", tmp_path / "truth", tmp_path / "low")]
    (scores,) = score_test_set(get_test_set("reds4"), clips, off_by([0, 0]), BI, SCALE)
    assert scores.psnr == pytest.approx(psnr_of(9))


def test_sides_that_the_scale_does_not_divide_are_cropped(tmp_path, write_frames):
    frames = grey(2)[:, :, :63]
    frames[:, :, 60:] = 0  # beyond the last multiple of 4
    write_frames(tmp_path / "clip", frames)
    clips = [ClipFolders("clip", tmp_path / "clip", None)]
    (scores,) = score_test_set(get_test_set("reds4"), clips, off_by([2, 2]), BI, SCALE)
    assert scores.psnr == pytest.approx(psnr_of(4))


def test_outputs_are_rounded_before_they_are_compared():
    """Half a grey level is not an error, because outputs are rounded to uint8, as in BasicSR's tensor2img."""
    import torch

    from fedvsr.inference.windows import upscale_frames

    class Nearly(torch.nn.Module):
        temporal_context = 0

        def forward(self, x):
            return x.repeat_interleave(4, -1).repeat_interleave(4, -2) + 0.4 / 255

    (output,) = upscale_frames(Nearly(), grey(1)[:, ::4, ::4], torch.device("cpu"))
    np.testing.assert_array_equal(output, grey(1)[0])


def test_lpips_and_vmaf_get_only_the_scored_frames(score_errors, monkeypatch):
    vmaf_input = []

    class FakeVmaf:
        def __init__(self, height, width):
            vmaf_input.append((height, width))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def add(self, output, truth):
            vmaf_input.append((output[0, 0, 0], truth[0, 0, 0]))

        def finish(self):
            return np.array([90.0, 92.0])

    monkeypatch.setattr(score, "Vmaf", FakeVmaf)
    scores = score_errors("reds4", [1, 3], lpips=lambda a, b, border: [a.mean() - b.mean()], with_vmaf=True)
    assert (scores.lpips, scores.vmaf) == (2, 91)
    assert vmaf_input == [(48, 64), (GREY + 1, GREY), (GREY + 3, GREY)]
    assert score_errors("vimeo90k-t", [9, 1, 9], lpips=lambda a, b, border: [a.mean() - b.mean()]).lpips == 1
    assert mean_over_clips([scores, BenchmarkScores("b", 2, 30, 0.5, lpips=4, vmaf=93)]).vmaf == 92


@pytest.mark.parametrize(
    ("frames", "scale", "message"),
    [
        (2, 4, r"low: has 2 frames, but .*truth has 3; copy"),
        (3, 2, r"low: is 32×24 pixels, but .*truth of 64×48 makes 16×12 at scale 4"),
    ],
)
def test_low_resolution_frames_must_match_the_ground_truth(tmp_path, write_frames, frames, scale, message):
    write_frames(tmp_path / "truth", 3)
    write_frames(tmp_path / "low", frames, scale=scale)
    clips = [ClipFolders("clip", tmp_path / "truth", tmp_path / "low")]
    with pytest.raises(VideoError, match=message):
        score_test_set(get_test_set("vid4"), clips, off_by([0] * 3), BI, SCALE)


def test_memory_does_not_grow_with_the_clip(tmp_path, write_frames):
    """The reader, the upscaler and the metrics process one frame at a time."""
    write_frames(tmp_path / "clip", grey(6))
    taken, yielded = [], []

    def upscale(frames):
        for frame in frames:
            taken.append(frame)
            assert len(taken) - len(yielded) == 1
            yield frame.repeat(4, 0).repeat(4, 1)
            yielded.append(frame)

    clips = [ClipFolders("clip", tmp_path / "clip", None)]
    (scores,) = score_test_set(get_test_set("vid4"), clips, upscale, BI, SCALE)
    assert (scores.frames, len(yielded)) == (6, 6)


@pytest.mark.parametrize("made_by", ["bi", "bd", "matlab-bd"])
def test_low_resolution_frames_that_differ_from_the_named_degradation(tmp_path, write_frames, made_by):
    smooth = 127 + 100 * np.sin(np.arange(64) / 3) * np.sin(np.arange(48) / 4)[:, None]
    truth = np.uint8(np.rint(np.stack([smooth] * 3, -1)))[None]
    write_frames(tmp_path / "truth", truth)
    write_frames(tmp_path / "low", get_degradation(made_by)(truth, 4))
    clip = ClipFolders("clip", tmp_path / "truth", tmp_path / "low")
    for name in ("bi", "bd", "matlab-bd"):
        text = describe_mismatch(clip, get_degradation(name), 4)
        assert (text == "") == (name == made_by), text
        assert text == "" or f"is not what '{name}' makes of" in text
    assert describe_mismatch(clip, BI, 2) == ""  # `score_test_set` reports another size
    assert describe_mismatch(ClipFolders("clip", tmp_path / "truth", None), BI, 4) == ""


def test_every_convention_is_described():
    conventions = {name: get_test_set(name).convention for name in known_test_sets()}
    assert conventions == {
        "reds4": "PSNR/SSIM on RGB, border 0, all frames",
        "udm10": "PSNR/SSIM on Y (BT.601), border 0, all frames",
        "vid4": "PSNR/SSIM on Y (BT.601), border 0, all frames",
        "vimeo90k-t": "PSNR/SSIM on Y (BT.601), border 0, the centre frame",
    }
