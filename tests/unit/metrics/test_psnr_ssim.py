import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fedvsr.errors import InputError
from fedvsr.metrics import mean_psnr, psnr, rgb_to_y, ssim


def video(seed, shape=(2, 24, 31, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def noisy(frames, seed=9, amount=12):
    noise = np.random.default_rng(seed).integers(-amount, amount + 1, frames.shape)
    return np.clip(frames.astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_the_primaries(rgb, expected):
    frame = np.array(rgb, np.uint8).reshape(1, 1, 1, 3)
    assert rgb_to_y(frame).item() == pytest.approx(expected)
    assert rgb_to_y((frame / 255).astype(np.float32)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("difference", [1, 2, 10, 255])
def test_psnr_of_a_constant_difference(difference):
    a = np.zeros((3, 4, 5, 3), np.uint8)
    b = np.full_like(a, difference)
    np.testing.assert_allclose(psnr(a, b), 20 * np.log10(255 / difference), atol=1e-12)
    luma = difference * 219 / 255
    np.testing.assert_allclose(psnr(a, b, channel="y"), 20 * np.log10(255 / luma))


@given(seed=st.integers(0, 999), border=st.integers(0, 6), channel=st.sampled_from(["rgb", "y"]))
@settings(max_examples=30, deadline=None)
def test_psnr_and_ssim_equal_scikit_image(seed, border, channel):
    a = video(seed)
    b = noisy(a, seed + 1)
    inside = (slice(border, 24 - border), slice(border, 31 - border))
    ratios, similarities = psnr(a, b, border, channel), ssim(a, b, border, channel)
    for t in range(len(a)):
        x, y = a[t][inside].astype(float), b[t][inside].astype(float)
        if channel == "y":
            x, y = rgb_to_y(x / 255)[..., None], rgb_to_y(y / 255)[..., None]
        assert ratios[t] == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-9)
        _, maps = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
            full=True,
        )
        assert similarities[t] == pytest.approx(maps[5:-5, 5:-5].mean(), abs=1e-9)


@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_both_are_symmetric_and_ssim_is_at_most_one(seed):
    a, b = video(seed), video(seed + 1)
    np.testing.assert_array_equal(psnr(a, b), psnr(b, a))
    np.testing.assert_allclose(ssim(a, b), ssim(b, a), atol=1e-14)
    assert np.all(np.abs(ssim(a, b)) <= 1)


def test_the_same_frame_has_infinite_psnr_and_similarity_one():
    a = video(1)
    b = a.copy()
    b[1] = noisy(a)[1]
    ratios = psnr(a, b)
    assert ratios[0] == np.inf
    assert np.isfinite(ratios[1])
    assert mean_psnr(ratios) == ratios[1]
    assert mean_psnr(psnr(a, a)) == np.inf
    np.testing.assert_allclose(ssim(a, a), 1)


def test_ssim_of_two_constants_is_the_luminance_term():
    a, b = np.full((1, 11, 11, 3), 100, np.uint8), np.full((1, 11, 11, 3), 120, np.uint8)
    constant = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + constant) / (100**2 + 120**2 + constant)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-12)


def test_more_noise_is_worse():
    a = video(3)
    assert np.all(psnr(a, noisy(a, amount=4)) > psnr(a, noisy(a, amount=20)))
    assert np.all(ssim(a, noisy(a, amount=4)) > ssim(a, noisy(a, amount=20)))


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("a", "b", "arguments", "message"),
    [
        (video(1), video(1)[:1], {}, "one shape"),
        (video(1) / 255, video(1) / 255, {}, "uint8"),
        (video(1)[0], video(1)[0], {}, "T, H, W, 3"),
        (video(1)[:0], video(1)[:0], {}, "at least one frame"),
        (video(1), video(1), {"crop_border": 12}, "31×24 less a border of 12"),
        (video(1), video(1), {"crop_border": -1}, "too small"),
        (video(1), video(1), {"channel": "luma"}, "rgb or y"),
    ],
)
def test_videos_that_cannot_be_compared_are_refused(metric, a, b, arguments, message):
    with pytest.raises(InputError, match=message):
        metric(a, b, **arguments)


def test_ssim_needs_frames_as_large_as_its_window():
    with pytest.raises(InputError, match="11×11"):
        ssim(video(1, (1, 10, 20, 3)), video(2, (1, 10, 20, 3)))
