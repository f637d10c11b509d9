"""A wrong configuration is reported in one sentence: the field, its value, what is allowed."""

from pathlib import Path

import pytest

from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError

TWO = {"clients": ["ann", "bob"]}


def parse(**sections) -> RunConfig:
    return RunConfig.parse({"name": "demo", **sections})


@pytest.mark.parametrize(
    ("sections", "field", "value", "allowed"),
    [
        # A field that does not exist, at the top and in a section.
        ({"round": 3}, "round", 3, "no such field; known here: communication, data, evaluation, "),
        ({"training": {"lr": 0.1}}, "training.lr", 0.1, "local_steps, "),
        # A value of the wrong type.
        ({"federation": {"rounds": "two"}}, "federation.rounds", "two", "valid integer"),
        ({"federation": {"rounds": 2.5}}, "federation.rounds", 2.5, "valid integer"),
        ({"federation": {"rounds": True}}, "federation.rounds", True, "a number"),
        ({"training": {"learning_rate": True}}, "training.learning_rate", True, "a number"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate", None, "finite number"),
        ({"training": 3}, "training", 3, "a mapping of fields"),
        ({"federation": {"clients": "ann"}}, "federation.clients", "ann", "a list"),
        ({"data": {"split_shots": "perhaps"}}, "data.split_shots", "perhaps", "valid boolean"),
        # A value outside the range.
        ({"federation": {"rounds": 0}}, "federation.rounds", 0, "greater than or equal to 1"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate", 0, "greater than 0"),
        ({"training": {"beta1": 1}}, "training.beta1", 1, "less than 1"),
        ({"data": {"scale": 5}}, "data.scale", 5, "2, 3 or 4"),
        ({"training": {"precision": "half"}}, "training.precision", "half", "'bfloat16' or 'float16'"),
        ({"seed": -1}, "seed", -1, "greater than or equal to 0"),
        # Names that Kubernetes would not accept.
        ({"name": "My Run"}, "name", "My Run", "lower-case letters, digits and dashes"),
        ({"name": "a" * 41}, "name", "a" * 41, "at most 40"),
        ({"name": "demo\n"}, "name", "demo\n", "lower-case letters"),
        ({"federation": {"clients": ["-ann"]}}, "federation.clients.0", "-ann", "no dash at the ends"),
        # Fields that must fit together.
        ({"training": {"patch_size": 254}}, "training.patch_size", 254, "multiple of data.scale (4)"),
        ({"training": {"frames": 9}}, "training.frames", 9, "at most data.minimum_frames (8)"),
        ({"data": {"maximum_frames": 7}}, "data.maximum_frames", 7, "at least data.minimum_frames (8)"),
        (
            {"federation": TWO | {"clients_per_round": 3}},
            "federation.clients_per_round",
            3,
            "at most the number of clients (2)",
        ),
        ({"federation": TWO | {"quorum": 3}}, "federation.quorum", 3, "clients in a round (2)"),
        (
            {"federation": TWO | {"clients_per_round": 1, "quorum": 2}},
            "federation.quorum",
            2,
            "clients in a round (1)",
        ),
        ({"federation": {"clients": ["ann", "ann"]}}, "federation.clients", ["ann", "ann"], "named once"),
    ],
)
def test_error_names_field_value_and_what_is_allowed(sections, field, value, allowed):
    with pytest.raises(ConfigError) as caught:
        parse(**sections)
    error = caught.value
    assert error.field == field
    assert value is None or error.value == value
    assert allowed in error.allowed
    assert str(error) == f"{field}: {error.value!r} is not allowed; {error.allowed}"
    assert "\n" not in str(error)
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("sections", "field", "allowed"),
    [
        ({"clients": {"split": {"count": 2}}}, "clients.split.path", "it is required"),
        ({"clients": {"split": {"path": "v", "count": 0}}}, "clients.split.count", "or equal to 1"),
        (
            {"clients": {"split": {"path": "v", "count": 2, "n": 1}}},
            "clients.split.n",
            "alpha, count, labels",
        ),
        ({"clients": {"videos": {"Ann B": "v"}}}, "clients.videos.Ann B", "lower-case letters"),
        (
            {"clients": {"videos": {"ann": {"path": "v", "glob": "*"}}}},
            "clients.videos.ann.glob",
            "known here: path, pattern",
        ),
        (
            {"clients": {"videos": {"ann": "v"}, "split": {"path": "v", "count": 2}}},
            "clients.split",
            "not both",
        ),
        ({"strategy": {"options": {"mu": float("inf")}}}, "strategy.options.mu", "finite number"),
    ],
)
def test_errors_in_nested_mappings_name_the_path_that_was_written(sections, field, allowed):
    with pytest.raises(ConfigError) as caught:
        Experiment.parse({"name": "demo", **sections})
    assert caught.value.field == field
    assert allowed in caught.value.allowed


def test_a_misspelt_required_field_is_reported_before_the_missing_one():
    with pytest.raises(ConfigError, match=r"^nam: 'demo' is not allowed; no such field"):
        RunConfig.parse({"nam": "demo"})


def test_a_missing_field_is_reported():
    with pytest.raises(ConfigError, match=r"^name: None is not allowed; it is required$"):
        RunConfig.parse({})


def test_a_configuration_that_is_not_a_mapping_is_refused():
    with pytest.raises(ConfigError, match=r"^CONFIG: 3 is not allowed; it must be a mapping of fields$"):
        RunConfig.parse(3)


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (b"name: [demo", "it must be a YAML file"),
        (b"\xff\xfe\x00", "it must be a YAML file"),
        (b"- name", "it must be a YAML mapping of fields"),
        (b"", "it must be a YAML mapping of fields"),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_refused_in_one_line(tmp_path: Path, content, allowed):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert caught.value.field == "CONFIG"
    assert caught.value.value == str(path)
    assert allowed in caught.value.allowed
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml' is not allowed; it must be a readable file"):
        load_experiment(tmp_path / "none.yaml")


def test_a_folder_is_not_a_file(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"it must be a readable file \(Is a directory\)"):
        load_experiment(tmp_path)
