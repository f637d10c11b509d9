import pytest
import torch

from fedvsr.models import build_model
from tests.unit.models.waves import filled, video

SMALL = {"channels": 8, "blocks": 1}


@pytest.fixture(params=[False, True], ids=["published", "detail"])
def model(request):
    return filled(build_model("rrn", 4, {**SMALL, "detail": request.param}))


def test_an_output_frame_depends_on_earlier_frames_and_on_no_later_one(model):
    x = video(1, 6, 3, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, 3].sum(), x)
    assert (gradient[0].abs().amax((1, 2, 3)) > 0).tolist() == [True] * 4 + [False] * 2


def test_a_video_can_be_upscaled_while_it_is_still_being_recorded(model):
    x = video(1, 6, 3, 9, 11)
    with torch.inference_mode():
        torch.testing.assert_close(model(x[:, :4]), model(x)[:, :4])


def test_videos_of_a_batch_do_not_mix(model):
    x = torch.rand(3, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]))


@pytest.mark.parametrize("frames", [1, 2])
def test_short_videos_are_valid(model, frames):
    with torch.inference_mode():
        assert model(video(2, frames, 3, 5, 7)).shape == (2, frames, 3, 20, 28)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_untrained_model_with_detail_is_exactly_bicubic(scale):
    x = video(1, 3, 3, 12, 16)
    with torch.inference_mode():
        y = build_model("rrn", scale, SMALL | {"detail": True})(x)
        torch.testing.assert_close(y, build_model("bicubic", scale)(x), atol=1e-6, rtol=0)
