"""The section robustness: what is allowed, and that its defaults leave no trace in a run's record."""

import math

import pytest

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.records import RunRecord


def config(**robustness) -> RunConfig:
    return RunConfig.parse({"name": "a", "robustness": robustness})


def identity(config: RunConfig) -> str:
    return RunRecord(config=config, initial_digest="0" * 64, parameters=1, fedvsr_version="0").identity


@pytest.mark.parametrize("section", [None, {}, {"max_norm": 10}, {"max_share": None, "max_norm": 10.0}])
def test_a_run_with_the_defaults_has_the_record_of_a_run_from_before_the_section(section):
    before = RunConfig.parse({"name": "a"})
    stated = RunConfig.parse({"name": "a", "robustness": section})
    assert "robustness" not in stated.model_dump_json()
    assert identity(stated) == identity(before)


@pytest.mark.parametrize("values", [{"max_share": 0}, {"max_share": 1}, {"max_norm": 0}, {"max_norm": 2.5}])
def test_another_value_is_part_of_the_runs_identity(values):
    changed = config(**values)
    assert RunConfig.model_validate_json(changed.model_dump_json()) == changed
    assert identity(changed) != identity(config())


@pytest.mark.parametrize("name", ["max_share", "max_norm"])
@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (0.5, "it must be 0 (no bound) or at least 1"),
        (-1, "it must be greater than or equal to 0"),
        (math.inf, "it must be a finite number"),
        (True, "it must be a number"),
    ],
)
def test_a_factor_that_makes_no_sense_is_refused(name, value, allowed):
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})
    assert (caught.value.field, caught.value.allowed) == (f"robustness.{name}", allowed)
