"""Comparison with outputs of the published implementations, computed once outside this repository."""

import hashlib

import pytest
import torch

from fedvsr.config.run import ModelConfig
from fedvsr.models import build_model, deform_conv, model_info
from tests.unit.models.tiny import TINY
from tests.unit.models.waves import filled, video

# All of VRT's windows are shifted somewhere, and three frames are warped from either side.
VRT_DEEP = TINY["vrt"] | {
    "channels": 12,
    "depth": 8,
    "refining_depth": 2,
    "refining_stages": 3,
    "window_frames": 4,
    "neighbours": 3,
    "deformable_groups": 6,
}


PRESET = {name: ModelConfig(name=name).options for name in ("vrt-reds16", "vrt-vimeo")}


@pytest.mark.parametrize(
    ("name", "options", "tensors", "parameters", "digest"),
    [
        ("basicvsr", {}, 316, 6_291_311, "6c84d44e791083a159463886a769cfb19c6d855817572eba2495c65399438280"),
        (
            "basicvsr++",
            {},
            274,
            7_322_927,
            "f66e6af99fecbf40f2a59229035504100968633a3162807e95b6d2f397e02a77",
        ),
        ("iart", {}, 1162, 13_410_503, "c7bda06d8c52539202db53180ecf9eed96182aa6e944573699366b15222c2b82"),
        ("rrn", {}, 26, 1_888_560, "13b1fcb1ff88d79f57b1499e20d80660b9fb152156fb167e620ed67b05acdd72"),
        ("rvrt", {}, 504, 10_782_295, "9b4b030026d79608149286f2de342e635f2487079f243d70e14d1860320cf05c"),
        ("vrt", {}, 1666, 30_676_435, "bad4217836519a8cf793bd353f4a0e59b6b0473c702bec062605c0e4903bc5f4"),
        (
            "vrt",
            PRESET["vrt-reds16"],
            1666,
            35_134_783,
            "c52edb2fff50d38651729134399996c0099801ef71e8b0f44064d6f3ee35c2e0",
        ),
        (
            "vrt",
            PRESET["vrt-vimeo"],
            1666,
            32_577_991,
            "db50aea71aabeb5484a27ef1e1c841e9474d8e6b012133d9178c77e728825b45",
        ),
    ],
)
def test_names_and_shapes_are_those_of_the_published_weights(name, options, tensors, parameters, digest):
    model = build_model(name, 4, options)
    lines = sorted(f"{key} {tuple(tensor.shape)}" for key, tensor in model.state_dict().items())
    listing_digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), listing_digest) == (tensors, digest)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    if not options:
        assert model_info(name).parameters == parameters


def weights(name, options):
    """Gives a model the weights that the published model had."""
    model = filled(build_model(name, 4, options), 1.6 if name == "basicvsr" else 1.2)
    if name == "rvrt":
        norms = ("norm1.weight", "norm2.weight", "3.weight", "7.weight")
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if parameter.dim() == 1 and key.endswith(norms):
                    parameter.add_(1.0)
    return model


@pytest.mark.parametrize(
    ("name", "options", "size", "expected"),
    [
        ("basicvsr", {}, (3, 64, 64), [0.832431, 0.993722, -0.733162, 1.983683, 0.502079]),
        ("basicvsr", {}, (3, 45, 70), [0.832507, 1.005907, 0.040928, 1.918525, 1.300734]),
        ("basicvsr++", {}, (4, 64, 64), [0.652847, 0.844919, -0.761143, 1.397962, 1.483544]),
        ("basicvsr++", {}, (4, 69, 94), [0.652795, 0.817675, -0.698684, 1.283627, 1.618144]),
        ("iart", {}, (2, 64, 64), [0.45082, 1.106547, -1.082121, 0.512134, 2.274489]),
        ("iart", {}, (4, 69, 66), [0.450785, 1.118348, -0.82834, 0.486888, 1.912117]),
        ("rrn", {}, (4, 24, 32), [0.49796, 0.926757, 1.860727, -1.246319, 1.0831]),
        ("rrn", {}, (3, 17, 21), [0.497953, 0.914333, 2.26747, -0.513541, 1.880212]),
        ("rvrt", {}, (6, 40, 64), [0.502926, 1.07706, -1.082557, 0.212998, 1.943546]),
        ("rvrt", {}, (6, 34, 45), [0.502923, 1.063709, -1.161146, 0.299609, 1.373779]),
        ("vrt", {}, (2, 40, 40), [0.761876, 0.736822, 1.054758, 1.79123, 0.404838]),
        ("vrt", {}, (3, 40, 48), [0.761858, 0.76623, 0.650821, 1.70924, -0.138697]),
        ("vrt", VRT_DEEP, (5, 40, 40), [0.308255, 0.844703, 1.652165, -0.009381, 0.277738]),
    ],
)
def test_outputs_are_those_of_the_published_implementation(name, options, size, expected):
    assert probe(weights(name, TINY[name] | options), size) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("basicvsr++", (4, 64, 64), [0.652847, 0.844919, -0.761143, 1.397962, 1.483544]),
        ("vrt", (2, 40, 40), [0.761876, 0.736822, 1.054758, 1.79123, 0.404838]),
    ],
)
def test_outputs_without_torchvisions_operator(monkeypatch, name, size, expected):
    monkeypatch.setattr(deform_conv, "_OPERATOR", None)
    assert probe(weights(name, TINY[name]), size) == pytest.approx(expected, abs=1e-4)


def probe(model, size):
    """Returns the mean and the standard deviation of an output, and a few of its numbers."""
    frames, height, width = size
    with torch.inference_mode():
        y = model(video(1, frames, 3, height, width))[0]
    numbers = (y.mean(), y.std(), y[0, 0, 5, 7], y[1, 1, 40, 60], y[-1, 2, -1, -1])
    return [number.item() for number in numbers]
