import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fedvsr.errors import InputError, WeightsError
from fedvsr.metrics.lpips import LPIPS

WEIGHTS = Path(
    os.environ.get(
        "FEDVSR_LPIPS_WEIGHTS",
        Path(__file__).resolve().parents[4] / "shared" / "weights" / "alexnet_features.safetensors",
    )
)


@pytest.fixture(scope="module")
def metric():
    pytest.importorskip("lpips", reason="pip install fedvsr[lpips]")
    if not WEIGHTS.is_file():
        pytest.skip(f"no AlexNet weights at {WEIGHTS}; FEDVSR_LPIPS_WEIGHTS can name them")
    return LPIPS(WEIGHTS)


def video(seed, shape=(3, 64, 72, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth_video():
    ramp = np.linspace(0, 255, 64)
    frame = np.stack(
        [ramp[:, None] + 0 * ramp, ramp[None] + 0 * ramp[:, None], 0 * ramp[:, None] + 128 + 0 * ramp], -1
    )
    return frame[None].astype(np.uint8)


def test_the_same_frames_have_distance_zero(metric):
    np.testing.assert_array_equal(metric(video(1), video(1)), np.zeros(3))


def test_every_frame_is_measured_separately(metric):
    a, b = video(1, (10, 40, 40, 3)), video(2, (10, 40, 40, 3))
    together = metric(a, b)
    alone = [metric(a[t : t + 1], b[t : t + 1]).item() for t in range(10)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(together, metric(b, a), rtol=1e-5)


def test_more_noise_is_further_away(metric):
    clean = smooth_video()
    noise = np.random.default_rng(0).normal(size=clean.shape)
    distances = [
        metric(clean, np.clip(clean + amount * noise, 0, 255).astype(np.uint8)).item()
        for amount in (4, 16, 64)
    ]
    assert distances == sorted(distances)


def test_the_border_is_cropped(metric):
    a, b = video(1), video(1)
    b[:, :2] = 0
    assert metric(a, b).max() > 0
    np.testing.assert_array_equal(metric(a, b, crop_border=2), np.zeros(3))


def test_building_it_does_not_change_the_random_numbers(metric):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    LPIPS(WEIGHTS)
    assert torch.equal(torch.rand(4), expected)


def test_frames_that_are_too_small(metric):
    with pytest.raises(InputError, match="31×31"):
        metric(video(1, (1, 30, 64, 3)), video(1, (1, 30, 64, 3)))


def test_the_smallest_frames(metric):
    small = video(1, (1, 31, 31, 3))
    assert metric(small, small).item() == 0


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(InputError, match=r"pip install fedvsr\[lpips\]"):
        LPIPS(WEIGHTS)


def test_a_missing_file_is_named(metric, tmp_path):
    with pytest.raises(InputError, match=r"no file .*nothing"):
        LPIPS(tmp_path / "nothing.safetensors")


def test_a_damaged_file_is_refused(metric, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cut short"):
        LPIPS(path)


@pytest.mark.parametrize("change", ["missing", "other shape"])
def test_weights_of_another_network_are_refused(metric, tmp_path, change):
    tensors = load_file(WEIGHTS)
    bias = tensors.pop("features.6.bias")
    if change == "other shape":
        tensors["features.6.bias"] = bias[:10].clone()
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"features\.6\.bias"):
        LPIPS(tmp_path / "other.safetensors")


def test_a_failed_download_is_an_input_error(metric, monkeypatch):
    import lpips

    def offline(**_):
        raise OSError("no network")

    monkeypatch.setattr(lpips, "LPIPS", offline)
    with pytest.raises(InputError, match=r"no network.*name a file"):
        LPIPS()
