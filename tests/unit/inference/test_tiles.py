"""Tiles fade into each other, and leave no trace of their borders."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedvsr.inference.tiles import tile_spans, upscale_tiles

CPU = torch.device("cpu")
ALL = slice(None)


class Nearest(nn.Module):
    """Twice the size; each output pixel depends on one input pixel."""

    spatial_context = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Numbered(Nearest):
    """Returns the number of the tile, in hundredths, as its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(torch.full_like(x, self.calls / 100))


def noise(frames: int, height: int, width: int, dtype: type = np.uint16) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return list(
        random.integers(0, np.iinfo(dtype).max, (frames, height, width, 3), dtype=dtype, endpoint=True)
    )


def doubled(frames: list[np.ndarray]) -> np.ndarray:
    return np.stack(frames).repeat(2, 1).repeat(2, 2)


def fractions(frames: list[np.ndarray]) -> np.ndarray:
    """Returns the first row of the first frame's red channel, in [0, 1]."""
    return frames[0][0, :, 0] / 65535


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    tile=st.integers(0, 24),
    blend=st.integers(0, 30),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_tiles_do_not_change_the_output_of_a_pixelwise_model(height, width, tile, blend, dtype):
    frames = noise(2, height, width, dtype)
    output = np.stack(upscale_tiles(Nearest(), frames, ALL, CPU, tile, blend))
    assert output.dtype == dtype
    np.testing.assert_array_equal(output, doubled(frames))


def test_one_tile_fades_linearly_into_the_next():
    # Tiles 1 and 2 of 8 input pixels, blended over 2 on either side: output pixels 12 to 19.
    frames = [np.zeros((8, 16, 3), np.uint16)]
    row = 100 * fractions(upscale_tiles(Numbered(), frames, ALL, CPU, tile=8, blend=2))
    np.testing.assert_allclose(row[:12], 1, atol=1e-3)
    np.testing.assert_allclose(row[20:], 2, atol=1e-3)
    np.testing.assert_allclose(row[12:20], 1 + (np.arange(8) + 0.5) / 8, atol=1e-3)


def test_the_corner_of_four_tiles_is_their_mean_in_both_directions():
    frames = [np.zeros((16, 16, 3), np.uint16)]
    (output,) = upscale_tiles(Numbered(), frames, ALL, CPU, tile=8, blend=2)
    fade = (np.arange(8) + 0.5) / 8
    # Tiles 1 and 2 above tiles 3 and 4.
    expected = 1 + fade[None] + 2 * fade[:, None]
    np.testing.assert_allclose(output[12:20, 12:20, 0] / 65535 * 100, expected, atol=2e-3)


def test_without_blending_tiles_meet_at_an_edge():
    frames = [np.zeros((4, 8, 3), np.uint16)]
    row = 100 * fractions(upscale_tiles(Numbered(), frames, ALL, CPU, tile=4, blend=0))
    np.testing.assert_allclose(row, [1.0] * 8 + [2.0] * 8, atol=1e-3)


@pytest.mark.parametrize("context", [0, 3])
def test_a_tile_includes_the_models_spatial_context(context):
    tile_sizes = []

    class Recorder(Nearest):
        spatial_context = context

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tile_sizes.append(tuple(x.shape[-2:]))
            return super().forward(x)

    upscale_tiles(Recorder(), [np.zeros((30, 10, 3), np.uint8)], ALL, CPU, tile=10, blend=1)
    assert tile_sizes == [(11 + context, 10), (12 + 2 * context, 10), (11 + context, 10)]


@given(
    length=st.integers(1, 200),
    tile=st.integers(0, 200),
    blend=st.integers(0, 20),
    context=st.integers(0, 20),
    multiple=st.integers(1, 16),
)
def test_spans_cover_a_side_and_overlap_only_their_neighbours(length, tile, blend, context, multiple):
    spans = tile_spans(length, tile, blend, context, multiple)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert (spans[0].rising, spans[-1].falling) == (0, 0)
    for before, after in itertools.pairwise(spans):
        assert before.stop - after.start == before.falling == after.rising
    for span in spans:
        assert span.rising + span.falling <= span.stop - span.start
        assert span.stop - span.start <= (tile or length) + 2 * blend
        assert span.input_start % multiple == span.input_stop % multiple == 0
        assert span.input_start <= max(0, span.start - context)
        assert span.input_stop >= min(length, span.stop + context)


class Blocks(nn.Module):
    """Accepts only multiples of 8, and returns each block's mean: it depends on where the blocks begin."""

    temporal_context = 0
    spatial_context = 7
    size_multiple = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-1] % 8 == x.shape[-2] % 8 == 0
        mean = nn.functional.avg_pool2d(x.flatten(0, 1), 8)
        return mean.repeat_interleave(16, -1).repeat_interleave(16, -2).unflatten(0, x.shape[:2])


@pytest.mark.parametrize(("height", "width"), [(44, 60), (8, 16), (3, 1)])
def test_a_model_of_multiples_gets_multiples_and_its_output_is_cropped(height, width):
    frames = noise(2, height, width, np.uint8)
    whole = np.stack(upscale_tiles(Blocks(), frames, ALL, CPU, 0, 8))
    assert whole.shape == (2, 2 * height, 2 * width, 3)
    mirrored = np.pad(np.stack(frames), ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0)), mode="reflect")
    block = mirrored[0, -8:, -8:, 0].mean()
    assert abs(int(whole[0, -1, -1, 0]) - block) <= 0.501
    tiled = np.stack(upscale_tiles(Blocks(), frames, ALL, CPU, 32, 8))
    np.testing.assert_array_equal(tiled, whole)


def test_only_the_frames_to_keep_are_returned():
    frames = noise(5, 4, 6)
    np.testing.assert_array_equal(
        upscale_tiles(Nearest(), frames, slice(1, 3), CPU, 3, 1), doubled(frames[1:3])
    )
