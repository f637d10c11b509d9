"""A run that starts from a pretrained part."""

import numpy as np
import pytest
import torch

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError
from fedvsr.federation import layout
from fedvsr.federation.run.prepare import prepare_run, validate_run
from fedvsr.store.local import LocalStore
from fedvsr.weights import load


def settings(path=None, **training):
    pretrained = {"pretrained": {"features": str(path)}} if path else {}
    return {
        "name": "study",
        "model": {"name": "fastvsr", "options": {"channels": 8, "blocks": 1}},
        "federation": {"clients": ["ann"]},
        "training": {**pretrained, **training},
    }


@pytest.fixture
def part(tmp_path):
    torch.save(
        {"weight": torch.full((8, 3, 5, 5), 0.5), "bias": torch.full((8,), 2.0)}, tmp_path / "part.pth"
    )
    return tmp_path / "part.pth"


def test_the_initial_weights_are_those_of_the_seed_with_the_files_part(part, tmp_path):
    plain, started = LocalStore(tmp_path / "plain"), LocalStore(tmp_path / "started")
    prepare_run(plain, RunConfig.parse(settings()))
    prepare_run(started, RunConfig.parse(settings(part)))
    key = layout.global_weights("study", 0)
    random, weights = load(plain.read(key), "plain"), load(started.read(key), "started")
    for name, array in random.items():
        expected = {"features.weight": 0.5, "features.bias": 2.0}.get(name, array)
        np.testing.assert_array_equal(weights[name], np.broadcast_to(expected, array.shape))


def test_a_run_continues_when_the_file_was_moved_or_lost_but_not_with_another_one(part, tmp_path):
    store = LocalStore(tmp_path / "store")
    record = prepare_run(store, RunConfig.parse(settings(part)))
    part.unlink()
    again = prepare_run(store, RunConfig.parse(settings(tmp_path / "elsewhere" / "part.pth")))
    assert again.identity == record.identity
    with pytest.raises(ConfigError, match=r"training\.pretrained\.features"):
        validate_run(RunConfig.parse(settings(tmp_path / "other.pth")), record)


def test_a_run_without_the_field_has_the_record_that_it_had(tmp_path):
    assert "pretrained" not in RunConfig.parse(settings()).model_dump_json()


def test_a_warm_start_leaves_nothing_to_pretrain(part):
    with pytest.raises(ConfigError, match=r"training\.pretrained.*warm_start gives all weights"):
        RunConfig.parse({**settings(part), "warm_start": "champion"})


def test_a_frozen_part_must_have_weights(part):
    frozen = {"parameters": {"features": {"frozen_steps": 10}}}
    (warning,) = validate_run(RunConfig.parse(settings(**frozen)), None).warnings
    assert "training.parameters.features freezes 2 parameters" in warning
    assert validate_run(RunConfig.parse(settings(part, **frozen)), None).warnings == ()
    warm = RunConfig.parse({**settings(**frozen), "warm_start": "champion"})
    assert validate_run(warm, None).warnings == ()
