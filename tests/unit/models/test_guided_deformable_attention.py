import math

import pytest
import torch

from fedvsr.models.guided_deformable_attention import GuidedDeformableAttention, deformable_attention


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


def read(images, offset, c, row, column):
    """The values of channel c of (C, H, W) at the nine displaced places around a pixel."""
    group = c * (offset.shape[0] // 18) // images.shape[0]
    values = []
    for tap in range(9):
        down, right = offset[18 * group + 2 * tap : 18 * group + 2 * tap + 2, row, column]
        values.append(between(images[c], row + tap // 3 - 1 + down, column + tap % 3 - 1 + right))
    return values


def by_scalars(query, key, value, offset, heads):
    """The definition, one number at a time."""
    B, C, H, W = query.shape
    S, width, half = key.shape[1], C // heads, offset.shape[2] // 2
    y = []
    for b in range(B):
        for c in range(C):
            head = range(c // width * width, (c // width + 1) * width)
            for row in range(H):
                for column in range(W):
                    similarities, values = [], []
                    for s in range(S):
                        keys = [
                            read(key[b, s], offset[b, s, :half], channel, row, column) for channel in head
                        ]
                        for tap in range(9):
                            products = (
                                query[b, channel, row, column] * keys[channel - head[0]][tap]
                                for channel in head
                            )
                            similarities.append(sum(products) / width**0.5)
                        values += read(value[b, s], offset[b, s, half:], c, row, column)
                    exponentials = [torch.exp(similarity) for similarity in similarities]
                    weighted = sum(e * v for e, v in zip(exponentials, values, strict=True))
                    y.append(weighted / sum(exponentials))
    return torch.stack(y).view(B, C, H, W)


def arguments(B=1, S=2, C=4, G=2, H=2, W=3):
    generator = torch.Generator().manual_seed(0)
    shapes = ((B, C, H, W), (B, S, C, H, W), (B, S, C, H, W), (B, S, 2 * G * 9, H, W))
    return [(1.2 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("shape", "heads"), [({}, 2), ({"B": 2, "S": 1, "C": 3, "H": 1}, 1), ({"G": 4}, 4)])
def test_values_and_gradients_are_those_of_the_definition(shape, heads):
    tensors = arguments(**shape)
    expected = by_scalars(*tensors, heads)
    output = deformable_attention(*tensors, heads)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((output * direction).sum(), tensors)
    for gradient, exact in zip(
        gradients, torch.autograd.grad((expected * direction).sum(), tensors), strict=True
    ):
        torch.testing.assert_close(gradient, exact, atol=1e-5, rtol=1e-5)


def test_equal_keys_give_the_mean_of_the_values():
    query, key, value, offset = arguments(H=5, W=5)
    output = deformable_attention(query, torch.zeros_like(key), value, torch.zeros_like(offset), 2)
    mean = torch.nn.functional.avg_pool2d(value.mean(1), 3, 1, 1)
    torch.testing.assert_close(output, mean, atol=1e-5, rtol=1e-5)


def test_the_untrained_module_returns_its_input_flows():
    torch.manual_seed(0)
    module = GuidedDeformableAttention(4, heads=2, groups=2, maximum_residue=10)
    clip = torch.rand(2, 2, 4, 6, 5)
    flows = (torch.randn(2, 2, 2, 6, 5), torch.randn(2, 2, 2, 6, 5))
    aligned, better = module(clip, clip, clip, (clip, clip), flows)
    assert aligned.shape == clip.shape
    for output, flow in zip(better, flows, strict=True):
        torch.testing.assert_close(output, flow, atol=1e-5, rtol=1e-5)


def test_each_frame_attends_to_both_frames_of_the_previous_pair():
    torch.manual_seed(0)
    module = GuidedDeformableAttention(4, heads=2, groups=2, maximum_residue=10)
    clip, flow = torch.rand(1, 2, 4, 6, 5), torch.zeros(1, 2, 2, 6, 5)
    # The offsets to the other frame of the previous pair point beyond its border, where all values are zero.
    other = torch.zeros(1, 2, 2, 6, 5)
    other[:, :, 1] = 20.0
    value = torch.rand(1, 2, 4, 6, 5, requires_grad=True)
    for flows, seen in (((flow, flow), (True, True)), ((flow, other), (True, False))):
        aligned, _ = module(clip, clip, value, (clip, clip), flows)
        (gradient,) = torch.autograd.grad(aligned[:, 0].sum(), value)
        assert tuple(bool(gradient[0, t].abs().max() > 0) for t in (0, 1)) == seen
