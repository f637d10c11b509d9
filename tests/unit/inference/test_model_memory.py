"""The measured need of a model is that of its tensors, for any size."""

import pytest
import torch
from torch import nn

from fedvsr.errors import ModelError
from fedvsr.inference.model_memory import measure_model_memory
from fedvsr.models.registry import build_model

CPU = torch.device("cpu")
UNSEEN = 1.35


class Known(nn.Module):
    """Keeps ``held`` float32 values of each input pixel of each frame, and ``once`` of each pixel."""

    def __init__(self, held: int, once: int) -> None:
        super().__init__()
        self.held = held
        self.once = once

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        T, _, h, w = x.shape[1:]
        kept = [torch.zeros(1, h, w) for _ in range(T * self.held)]
        torch.zeros(self.once, h, w)
        del kept
        return x.clone()


@pytest.mark.parametrize(("held", "once"), [(100, 0), (0, 1000), (200, 300)])
def test_it_is_the_largest_sum_of_the_tensors_at_a_time(held, once):
    memory = measure_model_memory(Known(held, once), CPU)
    # The input has 3 values of each pixel of each frame.
    for frames in (2, 6, 20):
        expected = UNSEEN * 4 * 1000 * (frames * (held + 3) + once)
        assert memory.of(frames, 1000) == pytest.approx(expected, rel=0.02)
    assert (memory.scale, memory.host_share) == (1, 0)


def test_the_output_and_its_copies_count():
    memory = measure_model_memory(build_model("bicubic", 4), CPU)
    assert memory.scale == 4
    assert memory.of(1, 1) >= 3 * 4 * 3 * 16


def test_it_predicts_the_peak_of_a_larger_input():
    # A measurement of FastVSR's peak resident memory: 1516 bytes for each pixel of each of 16 frames.
    assert 1516 < measure_model_memory(build_model("fastvsr", 4), CPU).of(16, 1) / 16 < 2200


def test_a_model_of_multiples_is_measured_on_one():
    class Picky(nn.Module):
        size_multiple = 48

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[-1] % 48 == x.shape[-2] % 48 == 0
            return x.clone()

    assert measure_model_memory(Picky(), CPU).per_frame_pixel > 0


def test_a_wrong_output_is_refused_before_the_video_is_read():
    class Wrong(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., 1:]

    with pytest.raises(ModelError):
        measure_model_memory(Wrong(), CPU)
