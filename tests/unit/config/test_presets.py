"""A preset stands for a model and the options of published weights."""

import pytest

from fedvsr.config.presets import PRESETS
from fedvsr.config.run import ModelConfig, RunConfig
from fedvsr.errors import ConfigError
from fedvsr.models.registry import model_names, model_options


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_options_are_the_models_and_differ_from_its_defaults(name):
    preset = PRESETS[name]
    assert preset.model in model_names()
    assert name not in model_names()
    defaults = model_options(preset.model)()
    options = model_options(preset.model).parse(dict(preset.options))
    assert all(getattr(options, key) != getattr(defaults, key) for key in preset.options)


def test_a_run_records_the_model_and_its_options():
    config = RunConfig.parse({"name": "study", "model": {"name": "vrt-vimeo"}})
    by_hand = RunConfig.parse(
        {
            "name": "study",
            "model": {
                "name": "vrt",
                "options": {"window_frames": 8, "neighbours": 2, "deformable_groups": 16},
            },
        }
    )
    assert config.model_dump_json() == by_hand.model_dump_json()


def test_options_that_are_set_replace_the_presets():
    model = ModelConfig.parse({"name": "vrt-vimeo", "options": {"depth": 4, "neighbours": 1}})
    assert model.options == {"window_frames": 8, "neighbours": 1, "deformable_groups": 16, "depth": 4}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "vrt-vimeo", "options": 3}, "model.options"),
        ({"name": ["vrt-vimeo"]}, "model.name"),
        ({"name": "vrt-vimeo", "depth": 3}, "model.depth"),
    ],
)
def test_wrong_values_beside_a_preset_are_named(values, field):
    with pytest.raises(ConfigError) as caught:
        ModelConfig.parse(values, "model.")
    assert caught.value.field == field
