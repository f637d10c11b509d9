"""Properties of RVRT."""

import pytest
import torch

from fedvsr.models import build_model
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import filled, video


@pytest.fixture(scope="module")
def tiny():
    return filled(build_model("rvrt", 4, TINY["rvrt"]))


def test_the_last_of_an_odd_number_of_frames_is_repeated(tiny):
    x = video(1, 3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x), tiny(torch.cat((x, x[:, 2:]), 1))[:, :3], atol=1e-5, rtol=1e-5)


def test_frames_smaller_than_a_window_are_extended_by_their_mirror_image(tiny):
    x = video(1, 2, 3, 2, 4)
    with torch.inference_mode():
        larger = tiny(torch.cat((x, x.flip(3)), 3))
        torch.testing.assert_close(tiny(x), larger[..., :8, :], atol=1e-5, rtol=1e-5)
