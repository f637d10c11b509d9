"""Properties of VRT."""

import pytest
import torch

from fedvsr.models import build_model
from fedvsr.models.mirror import mirror_to
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import filled, video


@pytest.fixture(scope="module")
def tiny():
    return filled(build_model("vrt", 4, TINY["vrt"]))


def test_a_small_video_is_extended_by_its_mirror_image(tiny):
    x = video(1, 1, 3, 20, 16)
    whole = torch.cat((x, x[:, :, :, -4:].flip(3)), 3)
    with torch.inference_mode():
        y = tiny(torch.cat((whole, whole), 1))
        assert torch.equal(tiny(x), y[:, :1, :, :80])


def test_a_mirror_image_is_mirrored_again():
    assert mirror_to(torch.tensor([1, 2, 3]), 8, 0).tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert mirror_to(torch.tensor([[7], [8]]), 3, 1).tolist() == [[7, 7, 7], [8, 8, 8]]
    x = torch.arange(4)
    assert mirror_to(x, 3, 0) is x


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_fewer_frames_than_neighbours(neighbours):
    options = TINY["vrt"] | {"channels": 12, "neighbours": neighbours, "deformable_groups": neighbours}
    model = filled(build_model("vrt", 4, options))
    with torch.inference_mode():
        assert model(video(1, 2, 3, 16, 16)).isfinite().all()


def test_reversing_time_mirrors_the_output_once_the_two_directions_are_alike():
    model = filled(build_model("vrt", 4, TINY["vrt"]))
    with torch.no_grad():
        first = model.conv_first.weight
        first[:, 15:] = first[:, 3:15]
        for name, parameter in model.named_parameters():
            if ".pa_fuse.fc1" in name and name.endswith("weight"):
                parameter[:, 16:] = parameter[:, 8:16]
            if name.endswith("relative_position_bias_table") and len(parameter) == 27:
                table = parameter.view(3, 3, 3, -1)
                table[2] = table[0]
    x = video(1, 4, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(x.flip(1)), model(x).flip(1), atol=1e-4, rtol=1e-4)
        # A video whose second half is the first half backwards.
        y = model(torch.cat((x, x.flip(1)), 1))
        torch.testing.assert_close(y, y.flip(1), atol=1e-4, rtol=1e-4)


def test_a_new_model_starts_from_the_flow_and_skips_branches_only_while_training():
    torch.manual_seed(0)
    model = build_model("vrt", 4, TINY["vrt"] | {"drop_path_rate": 0.9})
    assert all(not module.conv_offset[-1].weight.any() for module in _deformable(model))
    x = video(1, 2, 3, 16, 16)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def _deformable(model):
    return [getattr(model, f"stage{number}").pa_deform for number in range(1, 8)]
