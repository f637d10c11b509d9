"""Low resolution that is computed for a patch has the pixels that the whole clip's degradation gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.video.degradations.base import Degradation
from fedvsr.video.degradations.computed import ComputedLowResolution
from fedvsr.video.degradations.registry import get_degradation

CASES = [(name, scale) for name in ("bi", "bd", "matlab-bd") for scale in get_degradation(name).scales]


@pytest.mark.parametrize(("name", "scale"), CASES)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**20), height=st.integers(14, 60), width=st.integers(14, 60))
def test_any_part_has_the_pixels_of_the_whole_clip(name, scale, data, seed, height, width):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    if seed % 2:
        pixels[:] = 255 * (np.arange(width)[:, None] // 5 % 2)
    degradation = get_degradation(name)
    expected = degradation(pixels[:, : height - height % scale, : width - width % scale], scale)
    computed = ComputedLowResolution(pixels, degradation, scale)
    assert computed.shape == expected.shape
    key = tuple(
        slice(*sorted(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True))))
        for length in expected.shape[:3]
    )
    np.testing.assert_array_equal(computed[key], expected[key])


def test_a_degradation_of_the_whole_clip_is_not_cut_into_parts():
    class Fading(Degradation):
        """Depends on a frame's position in the clip."""

        name = "fading"
        scales = (2,)

        def _degrade(self, frames, scale):
            steps = np.arange(len(frames), dtype=np.uint8)[:, None, None, None]
            return frames[:, ::scale, ::scale] // 2 + steps

    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 8, 3), dtype=np.uint8)
    computed = ComputedLowResolution(pixels, Fading(), 2)
    np.testing.assert_array_equal(computed[3:, 1:, :2], Fading()(pixels[:, :8], 2)[3:, 1:, :2])
