"""Deformable convolution: a convolution with an offset for each tap at each pixel.

Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019,
https://arxiv.org/abs/1811.11168. It is written in plain PyTorch: it runs on any device and needs no
compilation. If torchvision is installed, its operator is used, which needs less than half the memory.
"""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_Operator = Callable[..., Tensor]


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolves at displaced positions, with a weight for every tap; keeps height and width.

    Rounding in torchvision's operator and in the plain one differs, by about 1e-6 of the values.

    Args:
        x: (N, C, H, W).
        offset: (N, 2·G·K, H, W) for K = kh·kw taps and G groups of C/G neighbouring channels. For each group
            and each tap, row by row: how many pixels further down, then how many further right, than its
            place in the kernel the tap reads.
        mask: (N, G·K, H, W): the weight of every tap, usually in [0, 1].
        weight: (O, C, kh, kw) with kh and kw odd.
        bias: (O,), or None.

    Returns:
        (N, O, H, W), in ``x``'s dtype. Beyond the border, ``x`` counts as zero.
    """
    if _OPERATOR is None:
        return deform_conv2d_plain(x, offset, mask, weight, bias)
    # The operator needs one dtype for all tensors, and on a CPU at least 32 bits.
    dtype = _position_dtype(offset)
    padding = (weight.shape[-2] // 2, weight.shape[-1] // 2)
    bias = None if bias is None else bias.to(dtype)
    y = _OPERATOR(x.to(dtype), offset.to(dtype), weight.to(dtype), bias, padding=padding, mask=mask.to(dtype))
    return y.to(x.dtype)


def deform_conv2d_plain(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Computes `deform_conv2d` without torchvision."""
    N, C, H, W = x.shape
    kernel = (weight.shape[-2], weight.shape[-1])
    K = kernel[0] * kernel[1]
    G = mask.shape[1] // K
    taps = sample_taps(x, offset, kernel).view(N, G, C // G, K, H, W)
    columns = (taps * mask.view(N, G, 1, K, H, W)).view(N, C * K, H * W)
    y = (weight.flatten(1) @ columns).view(N, -1, H, W)
    return (y if bias is None else y + bias.view(-1, 1, 1)).to(x.dtype)


def sample_taps(x: Tensor, offset: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Reads the values of a kernel's taps at displaced positions, bilinearly.

    Args:
        x: (N, C, H, W).
        offset: (N, 2·G·K, H, W), as for `deform_conv2d`.
        kernel: The kernel's height and width, both odd; K is their product.

    Returns:
        (N, C, K, H, W), in ``x``'s dtype. Beyond the border, ``x`` counts as zero.
    """
    N, C, H, W = x.shape
    K = kernel[0] * kernel[1]
    G = offset.shape[1] // (2 * K)
    offset = offset.reshape(N * G, kernel[0], kernel[1], 2, H, W).to(_position_dtype(offset))
    rows = offset[:, :, :, 0] + _axis(kernel[0], 1, offset) + _axis(H, 3, offset)
    columns = offset[:, :, :, 1] + _axis(kernel[1], 2, offset) + _axis(W, 4, offset)
    # grid_sample counts from −1 at the first pixel's left edge to 1 at the last one's right edge. Unlike a
    # count from centre to centre, this does not divide by zero if there is only one pixel.
    rows = (rows - kernel[0] // 2) * (2 / H) + (1 / H - 1)
    columns = (columns - kernel[1] // 2) * (2 / W) + (1 / W - 1)
    grid = torch.stack((columns, rows), -1).view(N * G, K * H, W, 2)
    groups = x.reshape(N * G, C // G, H, W).to(grid.dtype)
    taps = functional.grid_sample(groups, grid, "bilinear", "zeros", align_corners=False)
    return taps.view(N, C, K, H, W).to(x.dtype)


def _position_dtype(offset: Tensor) -> torch.dtype:
    """Returns the dtype of positions, which under autocast is more precise than that of features."""
    return torch.promote_types(offset.dtype, torch.float32)


def _axis(length: int, dimension: int, like: Tensor) -> Tensor:
    """Returns 0, 1, …, length − 1 along one of five dimensions."""
    shape = [1] * 5
    shape[dimension] = length
    return torch.arange(length, device=like.device, dtype=like.dtype).view(shape)


def _torchvision_operator() -> _Operator | None:
    try:
        operator: _Operator = importlib.import_module("torchvision.ops").deform_conv2d
    except (ImportError, RuntimeError):  # RuntimeError: torchvision was built for another PyTorch
        return None
    return operator


_OPERATOR = _torchvision_operator()
