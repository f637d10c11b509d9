"""Windows and tiles give the result of the whole video at once, and memory does not grow."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedvsr.errors import ConfigError
from fedvsr.inference.windows import WindowSettings, upscale_clip, upscale_frames
from fedvsr.models.registry import build_model

CPU = torch.device("cpu")


def fastvsr(blocks: int = 1) -> nn.Module:
    """FastVSR with weights that make the output depend on every frame of its context."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("fastvsr", 2, {"channels": 4, "blocks": blocks})
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
    return model


class Recurrent(nn.Module):
    """Each frame is mixed with all frames before it; the model states no contexts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, outputs = x[:, 0], []
        for frame in x.unbind(1):
            state = 0.5 * state + 0.5 * frame
            outputs.append(state.repeat_interleave(2, -1).repeat_interleave(2, -2))
        return torch.stack(outputs, 1)


class Count(nn.Module):
    """Repeats pixels, and records how many frames each call gets."""

    def __init__(self, temporal_context: int | None) -> None:
        super().__init__()
        self.temporal_context = temporal_context
        self.lengths: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.lengths.append(x.shape[1])
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


MODEL = fastvsr()


def noise(frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def cut(model: nn.Module, clip: np.ndarray, frames: int, tile: int) -> np.ndarray:
    return np.stack(list(upscale_frames(model, clip, CPU, WindowSettings(frames=frames, tile=tile))))


def largest_difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 9),
    window=st.integers(1, 10),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    tile=st.integers(0, 20),
)
def test_windows_and_tiles_give_the_result_of_the_whole_clip(length, window, height, width, tile):
    clip = noise(length, height, width)
    whole = upscale_clip(MODEL, clip, CPU)
    assert whole.shape == (length, 2 * height, 2 * width, 3)
    assert whole.dtype == np.uint8
    # Convolutions of another size may sum in another order, which can flip the rounding of a tie.
    assert largest_difference(cut(MODEL, clip, window, tile), whole) <= 1


def test_a_deeper_network_gets_wider_tiles():
    model, clip = fastvsr(blocks=4), noise(3, 40, 44)
    assert largest_difference(cut(model, clip, 2, 16), upscale_clip(model, clip, CPU)) <= 1


@pytest.mark.parametrize(
    ("attribute", "frames", "tile"), [("spatial_context", 0, 8), ("temporal_context", 1, 0)]
)
def test_without_the_overlaps_the_borders_would_differ(attribute: str, frames: int, tile: int):
    # Shows that the tests above can fail.
    model, clip = fastvsr(), noise(3, 24, 24)
    whole = upscale_clip(model, clip, CPU)
    setattr(model, attribute, 0)
    assert largest_difference(cut(model, clip, frames, tile), whole) > 1


def test_a_whole_clip_is_the_models_own_output():
    clip = noise(4, 10, 12)
    batch = torch.from_numpy(clip).permute(0, 3, 1, 2).double().unsqueeze(0) / 255
    with torch.inference_mode():
        output = fastvsr().double()(batch)[0].clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert largest_difference(upscale_clip(MODEL, clip, CPU), np.rint(255 * output)) <= 1


def test_output_beyond_the_range_is_clipped():
    class Overshoot(nn.Module):
        temporal_context = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 3 * x - 1

    clip = np.array([0, 85, 170, 255], np.uint8).repeat(3).reshape(1, 1, 4, 3)
    assert upscale_clip(Overshoot(), clip, CPU)[0, 0, :, 0].tolist() == [0, 0, 255, 255]


def test_a_recurrent_model_gets_the_frames_shortly_before_its_window():
    clip = noise(30, 4, 4)
    windowed = cut(Recurrent(), clip, 5, 0)
    assert windowed.shape == (30, 8, 8, 3)
    # Over eight frames of overlap, older frames are halved eight times: one grey level of 255 is left.
    assert largest_difference(windowed, upscale_clip(Recurrent(), clip, CPU)) <= 1


def test_an_empty_stream_gives_nothing():
    assert list(upscale_frames(MODEL, iter(()), CPU)) == []
    assert list(upscale_frames(MODEL, iter(()), CPU, WindowSettings(frames=0))) == []


def test_evaluation_mode_is_set():
    model = fastvsr().train()
    upscale_clip(model, noise(1, 4, 4), CPU)
    assert not model.training


@pytest.mark.parametrize(("context", "overlap"), [(0, 0), (1, 1), (3, 3), (None, 8)])
@pytest.mark.parametrize("window", [1, 4])
def test_memory_holds_at_most_a_window_and_its_overlaps(context, overlap, window):
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in noise(50, 2, 2):
            taken += 1
            yield frame

    model = Count(context)
    clip = noise(50, 2, 2)
    for yielded, frame in enumerate(
        upscale_frames(model, source(), CPU, WindowSettings(frames=window)), start=1
    ):
        # At most the window and the frames ahead of it were taken but not yielded yet.
        assert taken - yielded < window + overlap
        np.testing.assert_array_equal(frame[::2, ::2], clip[yielded - 1])
    assert taken == 50
    assert max(model.lengths) == window + 2 * overlap


@pytest.mark.parametrize("window", [0, 1, 4, 7])
@pytest.mark.parametrize("first", [0, 1, 4, 8, 12, 13, 20])
def test_a_later_start_gives_the_same_frames(window, first):
    clip = noise(13, 4, 4)
    settings = WindowSettings(frames=window)
    whole = list(upscale_frames(Recurrent(), clip, CPU, settings))
    rest = list(upscale_frames(Recurrent(), clip, CPU, settings, first=first))
    assert len(rest) == max(0, 13 - first)
    for frame, expected in zip(rest, whole[first:], strict=True):
        np.testing.assert_array_equal(frame, expected)


def test_windows_before_the_start_are_not_computed():
    model = Count(0)
    assert len(list(upscale_frames(model, noise(20, 2, 2), CPU, WindowSettings(frames=4), first=13))) == 7
    assert model.lengths == [4, 4]


def test_deep_frames_stay_deep():
    deep = np.random.default_rng(0).integers(0, 65536, (4, 9, 10, 3), dtype=np.uint16)
    output = np.stack(list(upscale_frames(Count(1), deep, CPU, WindowSettings(frames=2, tile=4))))
    assert output.dtype == np.uint16
    np.testing.assert_array_equal(output[:, ::2, ::2], deep)


@pytest.mark.parametrize(("field", "values"), [("window", {"frames": -1}), ("tile", {"tile": -1})])
def test_negative_sizes_are_refused(field, values):
    with pytest.raises(ConfigError, match=rf"^{field}: -1 is not allowed"):
        WindowSettings(**values)
