"""A model whose output is not a picture of the right size ends with one sentence that names it."""

import numpy as np
import pytest
import torch
from torch import nn

from fedvsr.errors import ModelError
from fedvsr.inference.ensemble import SelfEnsemble
from fedvsr.inference.mirror import MirroredClip
from fedvsr.inference.windows import WindowSettings, upscale_clip, upscale_frames
from fedvsr.models.base import size_multiple

CPU = torch.device("cpu")
CLIP = np.full((4, 6, 10, 3), 128, np.uint8)


class Returns(nn.Module):
    """Returns what a function makes of the input."""

    temporal_context = 0
    spatial_context = 1

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor):
        return self.function(x)


def twice(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def with_value(value: float):
    """Returns a function that upscales, and puts a value in one pixel of the third frame."""

    def function(x: torch.Tensor) -> torch.Tensor:
        output = twice(x)
        output[:, 2, 1, 3, 3] = value
        return output

    return function


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda x: x.repeat_interleave(2, -1), ["(1, 4, 3, 12, 20)", "(1, 4, 3, 6, 20)"]),
        (lambda x: twice(x)[..., :-1], ["(1, 4, 3, 6, 10)", "(1, 4, 3, 12, 19)"]),
        (lambda x: twice(x)[:, :-1], ["(1, 4, 3, 12, 20)", "(1, 3, 3, 12, 20)"]),
        (lambda x: twice(x)[:, :, :1], ["(1, 4, 1, 12, 20)"]),
        (lambda x: twice(x)[0], ["(4, 3, 12, 20)"]),
        (lambda x: x.mean(), ["()"]),
        (lambda x: x[..., :0], ["(1, 4, 3, 6, 0)"]),
        (lambda x: (twice(x),), ["tensor", "tuple"]),
        (with_value(float("nan")), ["finite", "NaN"]),
        (with_value(float("inf")), ["finite", "infinite"]),
        (with_value(float("-inf")), ["finite", "infinite"]),
    ],
)
@pytest.mark.parametrize("wrap", [lambda model: model, SelfEnsemble, MirroredClip])
def test_a_wrong_output_is_refused(function, parts, wrap):
    with pytest.raises(ModelError) as caught:
        upscale_clip(wrap(Returns(function)), CLIP, CPU)
    message = str(caught.value)
    assert message.startswith("model Returns: ")
    if wrap is not MirroredClip:  # which doubles the number of frames
        for part in parts:
            assert part in message


def test_a_model_of_another_scale_is_refused():
    list(upscale_frames(Returns(twice), CLIP, CPU, scale=2))
    with pytest.raises(ModelError, match=r"\(1, 4, 3, 24, 40\), but it has \(1, 4, 3, 12, 20\)"):
        list(upscale_frames(Returns(twice), CLIP, CPU, scale=4))


def test_a_wrong_tile_is_refused():
    def function(x: torch.Tensor) -> torch.Tensor:
        return twice(x) if x.shape[-1] > 4 else twice(x) / 0

    with pytest.raises(ModelError, match="finite"):
        list(upscale_frames(Returns(function), CLIP, CPU, WindowSettings(tile=3)))


@pytest.mark.parametrize("wrap", [SelfEnsemble, MirroredClip])
def test_a_wrapper_has_the_size_multiple_of_its_model(wrap):
    model = Returns(twice)
    model.size_multiple = 8
    assert size_multiple(wrap(model)) == 8
    assert upscale_clip(wrap(model), CLIP, CPU).shape == (4, 12, 20, 3)
