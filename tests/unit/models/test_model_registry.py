import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.models import Contexts, build_model, contexts, model_info, model_names
from fedvsr.models.registry import model_options


class Nearest(nn.Module):
    """Repeats pixels.

    Only for tests.
    """

    def __init__(self, scale, times, gain=1.0):
        super().__init__()
        self.scale, self.gain = scale, gain

    def forward(self, x):
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2) * self.gain


def anything(scale, **options):
    module = nn.Identity()
    module.options = options
    return module


def typed(
    scale: int,
    depth: int = 2,
    *,
    bias: bool = True,
    schema: str = "plain",
    sizes: list[int] | None = None,
    activation: type[nn.Module] = nn.ReLU,
    rate: float | None = None,
):
    module = nn.Identity()
    module.options = {
        "depth": depth,
        "bias": bias,
        "schema": schema,
        "sizes": sizes,
        "activation": activation,
        "rate": rate,
    }
    return module


@pytest.fixture
def theirs(monkeypatch, tmp_path):
    module = ModuleType("their_models")
    module.Nearest, module.anything = Nearest, anything
    module.not_a_model = lambda scale: "text"
    module.a_number = 3
    module.strict = lambda scale, depth: nn.Conv2d(3, 3, 1, groups=depth)
    module.typed = typed
    monkeypatch.setitem(sys.modules, "their_models", module)
    metadata = tmp_path / "theirs-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[fedvsr.models]\nnearest = their_models:Nearest\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", model_names())
def test_the_description_of_a_built_in_model_is_true(name):
    info = model_info(name)
    assert info.name == name
    assert info.description
    assert "https://" in info.source or info.source == "fedvsr"
    assert info.parameters == sum(p.numel() for p in build_model(name, 4).parameters())
    assert all(field.description for field in model_options(name).model_fields.values())


def test_the_built_in_models_are_listed():
    assert {"bicubic", "fastvsr", "basicvsr"} <= set(model_names())


def test_listing_the_models_needs_no_pytorch():
    code = "import sys, fedvsr.models as m, fedvsr.metrics; print(m.model_names(), 'torch' in sys.modules)"
    listing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listing.stdout.startswith("('basicvsr', ")
    assert listing.stdout.endswith(") False\n")


def test_a_model_of_an_entry_point(theirs):
    assert "nearest" in model_names()
    info = model_info("nearest")
    assert (info.description, info.source, info.parameters) == ("Repeats pixels.", "theirs", None)
    model = build_model("nearest", 3, {"times": 1, "gain": 2.0})
    assert model(torch.ones(1, 1, 3, 2, 2)).shape == (1, 1, 3, 6, 6)


def test_a_model_by_reference(theirs):
    model = build_model("their_models:Nearest", 2, {"times": 1})
    assert isinstance(model, Nearest)
    assert model_info("their_models:Nearest").description == "Repeats pixels."


def test_a_constructor_that_takes_any_option_gets_them_all(theirs):
    assert build_model("their_models:anything", 2, {"depth": 5}).options == {"depth": 5}


def test_a_module_that_fails_when_it_is_imported(monkeypatch, tmp_path):
    (tmp_path / "their_broken_models.py").write_text("raise RuntimeError('no\\nGPU')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be imported \(RuntimeError: no GPU\)"):
        build_model("their_broken_models:Net", 4)


def test_keywords_of_another_packages_model_are_passed_on(theirs):
    options = {"bias": False, "schema": "wide", "sizes": [1, 2], "rate": 1}
    model = build_model("their_models:typed", 2, options)
    assert model.options == {"depth": 2, "activation": nn.ReLU, **options}


def test_an_unknown_name_lists_the_known_ones():
    for function in (model_info, lambda name: build_model(name, 4)):
        with pytest.raises(
            UnknownNameError, match=r"unknown model 'fastvrs'; known: basicvsr, .*bicubic, fastvsr"
        ):
            function("fastvrs")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_package.models:Net", "No module named 'no_such_package'"),
        ("their_models:Nothing", "Nothing"),
        ("their_models:a_number", "int, not a callable"),
        ("their_models:not_a_model", "returned a str"),
        (":Net", "cannot be imported"),
        ("their_models:", "cannot be imported"),
        # It would download and run arbitrary code.
        ("fedvsr.models.fastvsr:torch.hub.load", "torch is a module"),
    ],
)
def test_an_invalid_reference_is_refused(theirs, reference, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(reference, 4)
    assert caught.value.field == "model.name"


@pytest.mark.parametrize(
    ("name", "options", "field", "message"),
    [
        ("bicubic", {"depth": 3}, "model.options.depth", "no such field; known here: none"),
        ("basicvsr", {"depth": 3}, "model.options.depth", "blocks, channels"),
        ("basicvsr", {"scale": 4}, "model.options.scale", "blocks, channels"),
        ("basicvsr", {"blocks": "many"}, "model.options.blocks", "a valid integer"),
        ("basicvsr", {"blocks": True}, "model.options.blocks", "a number"),
        ("basicvsr", {"blocks": 1.5}, "model.options.blocks", "a valid integer"),
        ("basicvsr", {"blocks": 101}, "model.options.blocks", "less than or equal to 100"),
        ("fastvsr", {"channels": 0}, "model.options.channels", "greater than or equal to 4"),
        ("their_models:Nearest", {}, "model.options.times", "it is required"),
        ("their_models:Nearest", {"gian": 1, "times": 1}, "model.options.gian", "known here: gain, times"),
        ("their_models:anything", {"scale": 4}, "model.options.scale", "set data.scale"),
        ("their_models:strict", {"depth": 2}, "model.options", "refused them at scale 4"),
        ("their_models:typed", {"depth": "deep"}, "model.options.depth", "a valid integer"),
        ("their_models:typed", {"depth": True}, "model.options.depth", "a number"),
        ("their_models:typed", {"rate": False}, "model.options.rate", "a number"),
        ("their_models:typed", {"bias": 3}, "model.options.bias", "a valid boolean"),
        ("their_models:typed", {"sizes": ["a"]}, "model.options.sizes.0", "a valid integer"),
    ],
)
def test_an_invalid_option_is_refused(theirs, name, options, field, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(name, 4, options)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "scale"), [("basicvsr", 2), ("basicvsr", 3), ("fastvsr", 5), ("bicubic", 1)]
)
def test_a_scale_that_the_model_does_not_support_is_refused(name, scale):
    with pytest.raises(ConfigError) as caught:
        build_model(name, scale)
    assert (caught.value.field, caught.value.value) == ("data.scale", scale)


def test_the_seed_decides_the_weights():
    for name in ("fastvsr", "basicvsr"):
        options = {"channels": 4, "blocks": 1}
        weights = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            weights.append(nn.utils.parameters_to_vector(build_model(name, 4, options).parameters()))
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])


def test_contexts():
    assert contexts(build_model("bicubic", 2)) == Contexts(temporal=0, spatial=2)
    assert contexts(build_model("basicvsr", 4, {"channels": 4, "blocks": 1})).temporal is None
    assert contexts(nn.Identity()) == Contexts(temporal=None, spatial=32)
