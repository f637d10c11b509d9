"""Windows and tiles fit the memory, and no choice that fits computes less twice."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedvsr.inference.sizes import Budget, choose_sizes
from fedvsr.inference.windows import RECURRENT_OVERLAP
from fedvsr.models.registry import build_model

CPU = torch.device("cpu")
GIGABYTE = 2**30
FASTVSR = build_model("fastvsr", 4)


class Recurrent(nn.Module):
    """Depends on all frames; it needs 400 bytes for each pixel of each frame, and the output's 192."""

    temporal_context = None
    spatial_context = 32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.zeros(1, x.shape[1], 100, *x.shape[-2:])
        return x.repeat_interleave(4, -1).repeat_interleave(4, -2)


def bytes_of(sizes, height, width, overlap, context, per_frame_pixel):
    """Returns roughly what a choice takes: the window in and out, and one tile with its surroundings."""
    computed = sizes.frames + 2 * overlap
    margin = 2 * (context + 8)
    # Tiles are equally large, so they may be smaller than asked for.
    sides = [-(-length // -(-length // (sizes.tile or length))) for length in (height, width)]
    tile = min(height, sides[0] + margin) * min(width, sides[1] + margin)
    return 3 * height * width * (computed + 16 * sizes.frames) + computed * tile * per_frame_pixel


@pytest.mark.parametrize(("height", "width"), [(540, 960), (1080, 1920), (2160, 3840)])
def test_the_default_model_takes_little_memory_on_a_cpu(height, width):
    sizes = choose_sizes(FASTVSR, CPU, height, width, budget=Budget(100 * GIGABYTE))
    assert bytes_of(sizes, height, width, 1, 12, 1516) < GIGABYTE


def test_a_small_video_is_upscaled_in_whole_frames_of_long_windows():
    sizes = choose_sizes(FASTVSR, CPU, 44, 60, budget=Budget(8 * GIGABYTE))
    assert (sizes.frames, sizes.tile) == (16, 0)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 2160),
    width=st.integers(16, 3840),
    memory=st.floats(1, 64),
    gpu=st.none() | st.floats(1, 80),
)
def test_a_choice_fits_its_memory(height, width, memory, gpu):
    budget = Budget(int(memory * GIGABYTE), None if gpu is None else int(gpu * GIGABYTE))
    sizes = choose_sizes(FASTVSR, CPU, height, width, budget=budget)
    if sizes.frames > 1:
        frames = bytes_of(sizes, height, width, 1, 12, 0)
        tile = bytes_of(sizes, height, width, 1, 12, 1420) - frames
        if budget.device is None:
            assert frames + tile <= 1.1 * budget.host  # bytes_of is an estimate
        else:
            assert frames <= 1.1 * budget.host
            assert tile <= 1.1 * budget.device


def test_more_memory_never_means_more_repeated_work():
    costs = []
    for memory in (0.25, 0.5, 1, 2, 4, 8, 16, 32):
        budget = Budget(64 * GIGABYTE, int(memory * GIGABYTE))
        sizes = choose_sizes(FASTVSR, CPU, 1080, 1920, budget=budget)
        side = sizes.tile or 1920
        costs.append((sizes.frames + 2) / sizes.frames * (min(side + 40, 1920) / side) ** 2)
    # Tiles at the frame's border are smaller, which this estimate leaves out.
    assert all(after <= before * 1.05 for before, after in itertools.pairwise(costs))
    assert costs[-1] < costs[0]


def test_a_recurrent_model_prefers_long_windows_to_large_tiles():
    budget = Budget(64 * GIGABYTE, 3 * GIGABYTE)
    sizes = choose_sizes(Recurrent(), CPU, 540, 960, budget=budget)
    assert sizes.frames == 32
    assert 128 <= sizes.tile <= 256
    more = choose_sizes(Recurrent(), CPU, 540, 960, budget=Budget(64 * GIGABYTE, 70 * GIGABYTE))
    assert (more.frames, more.tile) == (32, 0)


def test_a_recurrent_model_gets_shorter_windows_before_tiny_tiles():
    sizes = choose_sizes(Recurrent(), CPU, 540, 960, budget=Budget(64 * GIGABYTE, GIGABYTE))
    assert 1 <= sizes.frames < 32
    assert sizes.tile >= 128
    assert RECURRENT_OVERLAP == 8


def test_without_enough_memory_the_smallest_sizes_are_tried():
    sizes = choose_sizes(FASTVSR, CPU, 540, 960, budget=Budget(1))
    assert (sizes.frames, sizes.tile) == (1, 32)


@pytest.mark.parametrize(("window", "tile"), [(0, 0), (5, 100)])
def test_decided_sizes_stay(window, tile):
    sizes = choose_sizes(FASTVSR, CPU, 540, 960, window=window, tile=tile, budget=Budget(1))
    assert (sizes.frames, sizes.tile) == (window, tile)


def test_one_decided_size_leaves_the_other_to_the_memory():
    budget = Budget(2 * GIGABYTE)
    assert choose_sizes(FASTVSR, CPU, 540, 960, tile=64, budget=budget).frames > 8
    assert choose_sizes(FASTVSR, CPU, 540, 960, window=2, budget=budget).tile >= 384
    long = choose_sizes(FASTVSR, CPU, 540, 960, window=0, length=30, budget=budget)
    short = choose_sizes(FASTVSR, CPU, 540, 960, window=0, length=2, budget=budget)
    assert long.frames == short.frames == 0
    assert 0 < long.tile < (short.tile or 1000)


def test_deep_frames_take_twice_the_memory():
    budget = Budget(GIGABYTE, 100 * GIGABYTE)
    assert (
        choose_sizes(FASTVSR, CPU, 2160, 3840, bytes_per_value=2, budget=budget).frames
        < choose_sizes(FASTVSR, CPU, 2160, 3840, bytes_per_value=1, budget=budget).frames
    )


def test_half_of_what_is_free_may_be_used(monkeypatch):
    monkeypatch.setattr("fedvsr.inference.sizes.free_memory", lambda: 1000)
    monkeypatch.setattr("fedvsr.inference.sizes.free_gpu_memory", lambda device: 300)
    assert Budget.free(CPU) == Budget(500, None)
    assert Budget.free(torch.device("cuda:0")) == Budget(500, 150)
