"""PSNR and SSIM as papers define them, checked against independent definitions and numbers.

BasicSR's ``calculate_psnr`` and ``calculate_ssim`` (whose SSIM claims to be that of Wang's MATLAB ``ssim.m``)
round to uint8 first, crop, convert to luma without rounding it, and take the valid region of an 11×11
Gaussian of σ = 1.5. MATLAB's ``rgb2ycbcr`` rounds the luma of uint8 images, BasicSR does not.
"""

import cv2
import numpy as np
import pytest

from fedvsr.metrics import psnr, rgb_to_y, ssim

# 100 % colour bars as BT.601's 8-bit studio levels have them: white, yellow, cyan, green, magenta, red, blue,
# black.
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
LEVELS = [235, 210, 170, 145, 106, 81, 41, 16]


def pair(seed, shape=(1, 26, 33, 3)):
    random = np.random.default_rng(seed)
    a = random.integers(0, 256, shape, dtype=np.uint8)
    return a, np.clip(a.astype(int) + random.integers(-30, 31, shape), 0, 255).astype(np.uint8)


def ssim_by_definition(x, y):
    """Wang et al., 2004, equations 6, 13 and the text: one plane, window by window in two dimensions."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            p, q = (plane[top : top + 11, left : left + 11] for plane in (x, y))
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variance_p = (window * (p - mean_p) ** 2).sum()
            variance_q = (window * (q - mean_q) ** 2).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            values.append(
                (2 * mean_p * mean_q + c1)
                * (2 * covariance + c2)
                / ((mean_p**2 + mean_q**2 + c1) * (variance_p + variance_q + c2))
            )
    return np.mean(values)


def test_luma_of_the_colour_bars():
    bars = np.array(BARS, np.uint8)[None, None] * 255
    assert np.rint(rgb_to_y(bars)).ravel().tolist() == LEVELS


@pytest.mark.parametrize("border", [0, 4])
def test_ssim_is_wangs_definition_on_luma_and_the_mean_of_three_on_rgb(border):
    a, b = pair(1)
    inside = (slice(border, 26 - border), slice(border, 33 - border))
    x, y = a[0][inside].astype(float), b[0][inside].astype(float)
    channels = [ssim_by_definition(x[..., c], y[..., c]) for c in range(3)]
    assert ssim(a, b, border).item() == pytest.approx(np.mean(channels), abs=1e-12)
    luma = [16 + (frame @ (65.481, 128.553, 24.966)) / 255 for frame in (x, y)]
    assert ssim(a, b, border, "y").item() == pytest.approx(ssim_by_definition(*luma), abs=1e-12)


def test_the_border_is_cropped_before_the_window_is_applied():
    """Pixels in the border have no influence, not even through the window."""
    a, b = pair(2)
    changed = b.copy()
    changed[:, :4] = 0
    changed[:, :, -4:] = 255
    assert ssim(a, changed, 4, "y") == ssim(a, b, 4, "y")
    assert psnr(a, changed, 4) == psnr(a, b, 4)


def test_luma_has_the_peak_255_as_in_basicsr():
    black, white = np.zeros((1, 12, 12, 3), np.uint8), np.full((1, 12, 12, 3), 255, np.uint8)
    assert psnr(black, white, channel="y").item() == pytest.approx(20 * np.log10(255 / 219))


@pytest.mark.parametrize(("noise", "at"), [(13, 30), (4, 41)])
def test_rounding_luma_as_matlab_does_adds_a_sixth_of_a_squared_level_of_error(noise, at):
    """Either luma gets an error of variance 1/12: nothing at 30 dB, a tenth of a dB at 41."""
    random = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(random.integers(0, 256, (160, 200, 3)).astype(float), (0, 0), 3)
    a = np.uint8(np.clip((smooth - smooth.mean()) * 6 + 127, 0, 255))[None]
    b = np.uint8(np.clip(np.rint(a + random.normal(0, noise, a.shape)), 0, 255))
    ours = psnr(a, b, channel="y").item()
    x, y = (np.rint(rgb_to_y(frames))[0] for frames in (a, b))
    matlab = 10 * np.log10(255**2 / np.mean((x - y) ** 2))
    assert ours == pytest.approx(at, abs=1.2)
    error = 255**2 / 10 ** (ours / 10)
    assert matlab == pytest.approx(10 * np.log10(255**2 / (error + 1 / 6)), abs=0.02)
    crop = np.s_[:40, :50]
    similar = ssim(a[:, *crop], b[:, *crop], channel="y").item()
    assert ssim_by_definition(x[crop], y[crop]) == pytest.approx(similar, abs=1e-3)
