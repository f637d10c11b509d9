import math
import sys

import pytest
import torch

from fedvsr.models import deform_conv
from fedvsr.models.deform_conv import deform_conv2d, deform_conv2d_plain, sample_taps


def pixel(image, row, column):
    """One pixel of an (H, W) image, zero beyond its border."""
    H, W = image.shape
    return image[row, column] if 0 <= row < H and 0 <= column < W else image.new_zeros(())


def between(image, row, column):
    """The bilinear value at a position given by two scalar tensors."""
    top, left = math.floor(row.detach()), math.floor(column.detach())
    down, right = row - top, column - left
    return (
        (1 - down) * (1 - right) * pixel(image, top, left)
        + (1 - down) * right * pixel(image, top, left + 1)
        + down * (1 - right) * pixel(image, top + 1, left)
        + down * right * pixel(image, top + 1, left + 1)
    )


def by_scalars(x, offset, mask, weight, bias):
    """The definition, one number at a time."""
    N, C, H, W = x.shape
    outputs, _, height, width = weight.shape
    K = height * width
    group_size = C // (mask.shape[1] // K)
    y = []
    for n in range(N):
        for o in range(outputs):
            for row in range(H):
                for column in range(W):
                    total = bias[o]
                    for c in range(C):
                        for tap in range(K):
                            which = c // group_size * K + tap
                            value = between(
                                x[n, c],
                                row + tap // width - height // 2 + offset[n, 2 * which, row, column],
                                column + tap % width - width // 2 + offset[n, 2 * which + 1, row, column],
                            )
                            factor = weight[o, c, tap // width, tap % width]
                            total = total + factor * mask[n, which, row, column] * value
                    y.append(total)
    return torch.stack(y).view(N, outputs, H, W)


def arguments(N=2, C=4, outputs=2, G=2, H=3, W=4, kernel=(3, 3), reach=1.5):
    generator = torch.Generator().manual_seed(0)
    K = kernel[0] * kernel[1]
    shapes = ((N, C, H, W), (N, 2 * G * K, H, W), (N, G * K, H, W), (outputs, C, *kernel), (outputs,))
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    tensors[1] *= reach
    tensors[2] = torch.sigmoid(tensors[2])
    return [tensor.requires_grad_() for tensor in tensors]


@pytest.fixture(params=["torchvision", "plain"])
def function(request):
    if request.param == "torchvision":
        pytest.importorskip("torchvision")
        return deform_conv2d
    return deform_conv2d_plain


@pytest.mark.parametrize("shape", [{}, {"N": 1, "G": 1, "kernel": (1, 3)}, {"N": 1, "G": 4, "H": 1, "W": 2}])
def test_values_and_gradients_are_those_of_the_definition(function, shape):
    tensors = arguments(**shape)
    expected = by_scalars(*tensors)
    output = function(*tensors)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((output * direction).sum(), tensors)
    for gradient, exact in zip(
        gradients, torch.autograd.grad((expected * direction).sum(), tensors), strict=True
    ):
        torch.testing.assert_close(gradient, exact, atol=1e-5, rtol=1e-5)


def test_both_agree_on_a_larger_case():
    pytest.importorskip("torchvision")
    tensors = arguments(C=32, outputs=8, G=16, H=40, W=60, reach=8.0)
    torch.testing.assert_close(deform_conv2d(*tensors), deform_conv2d_plain(*tensors), atol=1e-4, rtol=1e-4)


def test_without_offsets_it_is_a_convolution(function):
    x, offset, mask, weight, bias = arguments()
    output = function(x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias)
    torch.testing.assert_close(output, torch.conv2d(x, weight, bias, padding=1), atol=1e-5, rtol=1e-5)


def test_no_bias(function):
    x, offset, mask, weight, bias = arguments()
    with_bias = function(x, offset, mask, weight, bias)
    without = function(x, offset, mask, weight, None)
    torch.testing.assert_close(without + bias.view(-1, 1, 1), with_bias, atol=1e-5, rtol=1e-5)


def test_bfloat16_features_and_exact_offsets(function):
    x, offset, mask, weight, bias = arguments()
    exact = function(x, offset, mask, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        rough = function(x.bfloat16(), offset, mask.bfloat16(), weight, bias)
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().mean() < 0.02 * exact.std()


def test_taps_are_ordered_row_by_row():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    taps = sample_taps(x, torch.zeros(1, 18, 3, 4), (3, 3))
    torch.testing.assert_close(
        taps[0, 0, :, 1, 1], torch.tensor([0.0, 1, 2, 4, 5, 6, 8, 9, 10]), atol=1e-5, rtol=0
    )


def test_the_plain_operator_is_used_if_torchvision_is_missing_or_broken(monkeypatch):
    assert (deform_conv._torchvision_operator() is None) == ("torchvision" not in sys.modules)
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    assert deform_conv._torchvision_operator() is None
    monkeypatch.setattr(deform_conv, "_OPERATOR", None)
    tensors = arguments()
    assert torch.equal(deform_conv2d(*tensors), deform_conv2d_plain(*tensors))
