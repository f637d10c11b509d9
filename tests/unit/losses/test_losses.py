import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import InputError
from fedvsr.losses import charbonnier, haar_bands, high_frequency_loss

SIZES = st.tuples(
    st.integers(1, 2), st.integers(1, 5), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)
)


def video(shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def oracle_bands(x):
    bands = pywt.dwtn(x.numpy(), "haar", mode="symmetric", axes=(1, 3, 4))
    return {name.replace("a", "L").replace("d", "H"): band for name, band in bands.items()}


def test_charbonnier_is_the_mean_of_the_smooth_absolute_error():
    prediction, target = torch.tensor([0.0, 3.0]), torch.tensor([0.0, -1.0])
    assert charbonnier(prediction, target, 9.0).item() == pytest.approx((3 + 5) / 2)


def test_charbonnier_of_equal_tensors_is_the_root_of_epsilon_with_zero_gradient():
    x = video((1, 2, 3, 4, 4)).requires_grad_()
    loss = charbonnier(x, x.detach().clone())
    loss.backward()
    assert loss.item() == pytest.approx(math.sqrt(1e-9))
    assert x.grad.abs().max() == 0


@given(shape=SIZES, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_every_band_equals_pywavelets(shape, seed):
    x = video(shape, seed)
    ours, theirs = haar_bands(x), oracle_bands(x)
    assert sorted(ours) == sorted(theirs)
    for name, band in ours.items():
        np.testing.assert_allclose(band.numpy(), theirs[name], atol=1e-13)


@given(shape=SIZES, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_loss_is_charbonnier_over_the_seven_high_bands_concatenated(shape, seed):
    a, b = video(shape, seed), video(shape, seed + 100)
    ours, theirs = oracle_bands(a), oracle_bands(b)
    d = np.concatenate([(ours[name] - theirs[name]).ravel() for name in ours if name != "LLL"])
    expected = np.sqrt(d**2 + 1e-6).mean()
    assert high_frequency_loss(a, b, 1e-6).item() == pytest.approx(expected, abs=1e-12)
    single = high_frequency_loss(a.float(), b.float(), 1e-6)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, abs=1e-6)


@given(shape=st.tuples(*[st.integers(1, 3).map(lambda n: 2 * n)] * 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_transform_of_even_sizes_keeps_the_energy(shape, seed):
    x = video(shape, seed)
    energy = sum(band.square().sum() for band in haar_bands(x).values())
    torch.testing.assert_close(energy, x.square().sum())


def test_a_constant_shift_has_no_high_frequency():
    x = video((1, 3, 3, 5, 6))
    assert high_frequency_loss(x + 0.5, x).item() == pytest.approx(math.sqrt(1e-9))


def test_one_frame_has_no_temporal_bands():
    bands = haar_bands(video((1, 1, 3, 4, 4)))
    assert all(bands[name].abs().max() == 0 for name in bands if name.startswith("H"))
    assert bands["LHH"].abs().max() > 0


@pytest.mark.parametrize("shape", [(1, 2, 1, 4, 2), (1, 1, 1, 3, 3), (1, 3, 2, 2, 5)])
def test_gradients(shape):
    a, b = video(shape, 1).requires_grad_(), video(shape, 2)
    assert torch.autograd.gradcheck(lambda x: high_frequency_loss(x, b, 1e-4), (a,))
    assert torch.autograd.gradcheck(lambda x: charbonnier(x, b, 1e-4), (a,))


def test_bfloat16_under_autocast_is_computed_in_float32():
    a, b = video((1, 4, 3, 8, 8), 1).bfloat16(), video((1, 4, 3, 8, 8), 2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses = charbonnier(a, b), high_frequency_loss(a, b)
    exact = charbonnier(a.double(), b.double()), high_frequency_loss(a.double(), b.double())
    for loss, expected in zip(losses, exact, strict=True):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [charbonnier, high_frequency_loss])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(InputError, match=r"\(1, 2, 3, 4, 4\).*\(1, 1, 3, 4, 4\)"):
        loss(video((1, 2, 3, 4, 4)), video((1, 1, 3, 4, 4)))


def test_the_transform_takes_five_dimensions():
    with pytest.raises(InputError, match="N, T, C, H, W"):
        haar_bands(torch.zeros(3, 4, 4))
