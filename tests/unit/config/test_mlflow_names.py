"""Names in MLflow are checked before anything is trained."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from fedvsr.config.experiment import TrackingConfig
from fedvsr.config.mlflow_names import REGISTERED_MODEL_RULE, check_registered_model
from fedvsr.errors import ConfigError, InputError
from fedvsr.steps.prepare import prepare as prepare_step
from fedvsr.steps.register import register as register_step
from fedvsr.tracking.filters import quoted
from fedvsr.tracking.sqlite import sqlite_uri

WRONG = [
    "",
    " ",
    "o'brien",
    'say "x"',
    "a/b",
    "x:y",
    "a@champion",
    "a?b",
    "a#b",
    "..",
    ".a",
    "a ",
    "a\nb",
    "é" * 257,
]
RIGHT = ["fedvsr", "Film-4K_v1.2", "a", "7", "two words", "größe", "x" * 256]


@pytest.mark.parametrize("name", WRONG)
def test_a_registered_model_that_mlflow_cannot_have_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        TrackingConfig.parse({"registered_model": name})
    assert str(caught.value) == f"registered_model: {name!r} is not allowed; {REGISTERED_MODEL_RULE}"


@pytest.mark.parametrize("name", RIGHT)
def test_usual_names_are_allowed(name):
    assert TrackingConfig(registered_model=name).registered_model == name


@pytest.mark.parametrize("experiment", ["", " ", " a", "a\nb", "x" * 257])
def test_an_experiment_that_mlflow_cannot_have_is_refused(experiment):
    with pytest.raises(ConfigError, match="printable characters"):
        TrackingConfig.parse({"experiment": experiment})


@pytest.fixture(scope="module")
def client(empty_database, tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "mlflow.db"
    path.write_bytes(empty_database.read_bytes())
    uri = sqlite_uri(path)
    return MlflowClient(uri, registry_uri=uri)


@given(st.text(st.characters(codec="utf-8"), max_size=12) | st.text("aZ9é._- '/:@?#", max_size=8))
@settings(deadline=None, max_examples=60)
def test_what_is_allowed_mlflow_registers_finds_and_reads_by_its_address(client, name):
    from mlflow.store.artifact.utils.models import _parse_model_uri

    try:
        check_registered_model(name, "--name")
    except ConfigError:
        return
    client.create_registered_model(name)
    try:
        version = client.create_model_version(name, "file:///nowhere").version
        client.set_registered_model_alias(name, "challenger", version)
        assert [item.name for item in client.search_model_versions(f"name = {quoted(name)}")] == [name]
        assert str(client.get_model_version_by_alias(name, "challenger").version) == str(version)
        parsed = _parse_model_uri(f"models:/{name}@challenger")
        assert (parsed.name, parsed.alias) == (name, "challenger")
    finally:
        client.delete_registered_model(name)


@pytest.mark.parametrize(
    "value", ["plain", "o'brien", 'say "x"', "a = 'b", "100%", "a_b", "x' OR name != 'y", "`t`"]
)
def test_a_quoted_value_finds_the_run_with_that_tag_alone(client, value):
    experiment = client.create_experiment(f"tagged {value}")
    run = client.create_run(experiment, tags={"fedvsr.run": value})
    client.create_run(experiment, tags={"fedvsr.run": "another"})
    matches = client.search_runs([experiment], filter_string=f"tags.`fedvsr.run` = {quoted(value)}")
    assert [match.info.run_id for match in matches] == [run.info.run_id]


@pytest.mark.parametrize("value", ["both ' and \"", "end\\"])
def test_a_value_that_no_filter_can_express_is_refused(value):
    with pytest.raises(InputError, match="cannot be searched in MLflow"):
        quoted(value)


def test_run_refuses_a_wrong_name_and_writes_nothing(fedvsr, config, tmp_path):
    output = fedvsr("run", config, "--store", tmp_path / "new", "--registered-model", "o'brien")
    assert output.code == 2
    assert output.err.startswith('error: tracking.registered_model: "o\'brien" is not allowed; it must have')
    assert output.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["register", "tiny", "--name", "a/b"], "--name"),
        (["promote", "--name", "a/b"], "--name"),
        (["submit", "tiny", "--registered-model", "a/b"], "--registered-model"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_names_the_option_that_is_wrong(fedvsr, tmp_path, monkeypatch, arguments, option):
    monkeypatch.chdir(tmp_path)
    output = fedvsr(*arguments)
    assert output.code == 2
    assert output.err.startswith(f"error: {option}: 'a/b' is not allowed; it must have")
    assert re.fullmatch(r"[^\n]*\n", output.err)
    assert list(tmp_path.iterdir()) == []


def test_the_steps_refuse_a_wrong_name_before_they_open_a_store(tmp_path):
    with pytest.raises(ConfigError, match="registered_model: 'x:y'"):
        prepare_step({"name": "tiny"}, "x:y")
    with pytest.raises(ConfigError, match="registered_model: 'x:y'"):
        register_step("tiny", "x:y", tmp_path / "summary.md")
