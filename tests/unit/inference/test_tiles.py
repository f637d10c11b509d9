"""Tiles fade into each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedvsr.inference.tiles import upscale_tiles


class Nearest(nn.Module):
    """Twice the size; each output pixel depends on one input pixel."""

    spatial_context = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Numbered(Nearest):
    """Returns the number of the tile as its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(torch.full_like(x, self.calls))


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 24), width=st.integers(1, 24), tile=st.integers(1, 24), blend=st.integers(0, 30))
def test_tiles_do_not_change_the_output_of_a_pixelwise_model(height, width, tile, blend):
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand((1, 2, 3, height, width), generator=generator)
    model = Nearest()
    torch.testing.assert_close(upscale_tiles(model, batch, tile, blend), model(batch), rtol=0, atol=1e-5)


def test_one_tile_fades_linearly_into_the_next():
    # Tiles 1 and 2 of 8 input pixels, blended over 2 on either side: output pixels 12 to 19.
    output = upscale_tiles(Numbered(), torch.zeros(1, 1, 3, 8, 16), tile=8, blend=2)[0, 0, 0, 0]
    assert output[:12].tolist() == [1.0] * 12
    assert output[20:].tolist() == [2.0] * 12
    expected = 1 + (torch.arange(8) + 0.5) / 8
    torch.testing.assert_close(output[12:20], expected)


def test_without_blending_tiles_meet_at_an_edge():
    output = upscale_tiles(Numbered(), torch.zeros(1, 1, 3, 4, 8), tile=4, blend=0)[0, 0, 0, 0]
    assert output.tolist() == [1.0] * 8 + [2.0] * 8


@pytest.mark.parametrize("context", [0, 3])
def test_a_tile_includes_the_models_spatial_context(context):
    tile_sizes = []

    class Recorder(Nearest):
        spatial_context = context

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tile_sizes.append(tuple(x.shape[-2:]))
            return super().forward(x)

    upscale_tiles(Recorder(), torch.zeros(1, 1, 3, 30, 10), tile=10, blend=1)
    assert tile_sizes == [(11 + context, 10), (12 + 2 * context, 10), (11 + context, 10)]
