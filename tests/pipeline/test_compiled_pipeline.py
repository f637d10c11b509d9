"""The compiled pipeline in git is current, and its parameters are those of the configuration."""

import inspect
import os
import subprocess
import sys
from typing import Literal, get_args, get_origin

import pytest
import yaml

from components.prepare.component import prepare
from fedvsr.cli.logs import STEPS as LOGGED_STEPS
from fedvsr.config.parameters import FIELDS, OTHERS, VIRTUAL_CLIENTS, to_fields
from fedvsr.config.run import RunConfig
from pipelines.cluster import ADDRESSES, CREDENTIALS, OPTIONAL_ADDRESSES
from pipelines.federated_training import COMPILED, federated_training

pytestmark = pytest.mark.pipeline

STEPS = {"prepare", "shard", "train_clients", "evaluate", "aggregate", "register"}
# Parameters of the pipeline that do not set a field of the configuration.
PIPELINE_ONLY = {"registered_model", "evaluation_gpus", "evaluation_memory"}


def load(text):
    """Returns the pipeline's specification and its executors on Kubernetes."""
    specification, platforms = yaml.safe_load_all(text)
    return specification, platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def compile_for(path, **variables):
    """Compiles the pipeline in another process, with only these FEDVSR_ variables."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FEDVSR_")}
    script = f"from pipelines.federated_training import *; compile_pipeline(Path({os.fspath(path)!r}))"
    subprocess.run(
        [sys.executable, "-c", script], env={**inherited, **variables}, cwd=COMPILED.parents[1], check=True
    )
    return path.read_text()


@pytest.fixture(scope="module")
def specification():
    return load(COMPILED.read_text())[0]


@pytest.fixture(scope="module")
def executors():
    return load(COMPILED.read_text())[1]


def steps(specification):
    """Returns the tasks of all steps: the pipeline's and those of its loop."""
    dags = [specification["root"]["dag"]]
    dags += [component["dag"] for component in specification["components"].values() if "dag" in component]
    return [
        task
        for dag in dags
        for task in dag["tasks"].values()
        if "dag" not in specification["components"][task["componentRef"]["name"]]
    ]


def test_the_file_in_git_is_current(tmp_path):
    assert COMPILED.read_text() == compile_for(tmp_path / "compiled.yaml"), "run `make compile`"


def test_every_parameter_is_described(specification):
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    assert all(parameter.get("description") for parameter in parameters.values())
    required = {name for name, parameter in parameters.items() if not parameter.get("isOptional")}
    assert required == {"run_name"}


def pipeline_parameters():
    """Returns the pipeline's parameters that make up a run's configuration, by name."""
    parameters = inspect.signature(federated_training.pipeline_func).parameters
    assert set(parameters) == {*FIELDS, OTHERS, *PIPELINE_ONLY}
    return {name: parameter for name, parameter in parameters.items() if name not in PIPELINE_ONLY}


def config_field(path):
    """Returns pydantic's description of a configuration field, by its dotted name."""
    section = RunConfig
    *sections, leaf = path.split(".")
    for name in sections:
        section = section.model_fields[name].annotation
    return section.model_fields[leaf]


def parameter_type(annotation):
    """Returns the type that a pipeline parameter has for a field's annotation."""
    if get_origin(annotation) is Literal:
        (kind,) = {type(choice) for choice in get_args(annotation)}
        return kind
    return list if get_origin(annotation) is tuple else annotation


@pytest.mark.parametrize("name", sorted({*FIELDS} - {VIRTUAL_CLIENTS}))
def test_a_parameter_has_the_type_and_the_default_of_its_field(name):
    parameter, field = pipeline_parameters()[name], config_field(FIELDS[name])
    assert parameter.annotation is parameter_type(field.annotation)
    if field.is_required():
        assert parameter.default is inspect.Parameter.empty
    else:
        default = field.get_default(call_default_factory=True)
        assert parameter.default == (list(default) if isinstance(default, tuple) else default)


def test_a_run_with_default_parameters_has_the_default_configuration():
    defaults = {
        name: parameter.default for name, parameter in pipeline_parameters().items() if name != "run_name"
    }
    values = {"name": "run"}
    for field, value in to_fields(defaults).items():
        *sections, leaf = field.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[leaf] = value
    assert RunConfig.parse(values) == RunConfig(name="run")


def test_virtual_clients_are_a_number_and_none_by_default():
    parameter = pipeline_parameters()[VIRTUAL_CLIENTS]
    assert (parameter.annotation, parameter.default) == (int, 0)
    assert to_fields({VIRTUAL_CLIENTS: 240}) == {"clients.split.count": 240}
    assert to_fields({VIRTUAL_CLIENTS: 0}) == {}


def test_the_prepare_step_takes_the_pipelines_parameters():
    parameters = inspect.signature(prepare.python_func).parameters
    # It checks the registered model's name before anything is trained.
    assert {name: parameter.annotation for name, parameter in parameters.items()} == {
        **{name: parameter.annotation for name, parameter in pipeline_parameters().items()},
        "registered_model": str,
    }


def test_the_pipelines_steps_are_those_of_fedvsr_logs():
    assert set(LOGGED_STEPS) == STEPS


def test_no_step_is_cached_or_installs_packages(specification):
    assert len(steps(specification)) == 7
    assert all("enableCache" not in task["cachingOptions"] for task in steps(specification))
    for executor in specification["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_every_step_has_a_readable_name(specification):
    names = {task["taskInfo"]["name"] for task in steps(specification)}
    assert len(names) == 7
    assert all(" " in name for name in names)


def test_every_step_has_the_deployments_addresses_and_credentials(specification, executors):
    assert set(executors) == set(specification["deploymentSpec"]["executors"])
    for executor in executors.values():
        for addresses, expected, is_optional in zip(
            executor["configMapAsEnv"], (ADDRESSES, OPTIONAL_ADDRESSES), (False, True), strict=True
        ):
            assert (addresses["configMapName"], addresses["optional"]) == ("fedvsr", is_optional)
            names = {entry["configMapKey"]: entry["envVar"] for entry in addresses["keyToEnv"]}
            assert names == {name: name for name in expected}
        (credentials,) = executor["secretAsEnv"]
        assert (credentials["secretName"], credentials["optional"]) == ("fedvsr-federation", False)
        names = {entry["secretKey"]: entry["envVar"] for entry in credentials["keyToEnv"]}
        assert names == {name: name for name in CREDENTIALS}


def test_only_steps_that_build_a_network_run_in_the_trainer_image(specification):
    images = {
        name.removeprefix("exec-").rstrip("-2"): executor["container"]["image"]
        .rpartition("/")[2]
        .split(":")[0]
        for name, executor in specification["deploymentSpec"]["executors"].items()
    }
    trainer = {"prepare", "evaluate", "register"}
    assert images == {
        step.replace("_", "-"): "fedvsr-trainer" if step in trainer else "fedvsr" for step in STEPS
    }


def test_every_step_has_a_memory_request_and_limit(specification):
    for name, executor in specification["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["resourceMemoryRequest"]
        assert resources["resourceMemoryLimit"]
        assert ("accelerator" in resources) == name.startswith("exec-evaluate")


def test_the_loop_gets_the_parameters_of_an_evaluations_resources(specification):
    """KFP's driver reads them from the loop's inputs, but the compiler does not put them there."""
    loop = specification["components"]["comp-rounds-from-0"]
    for name in ("evaluation_gpus", "evaluation_memory"):
        kind = loop["inputDefinitions"]["parameters"][f"pipelinechannel--{name}"]["parameterType"]
        # KFP's driver ignores a number and requests no GPU.
        assert kind == "STRING"


def test_rounds_run_one_at_a_time(specification):
    (loop,) = (task for task in specification["root"]["dag"]["tasks"].values() if "iteratorPolicy" in task)
    assert loop["iteratorPolicy"]["parallelismLimit"] == 1


def test_a_deployment_has_its_own_images_and_names(tmp_path):
    text = compile_for(
        tmp_path / "other.yaml",
        FEDVSR_IMAGE="registry/a:1",
        FEDVSR_TRAINER_IMAGE="registry/b:2",
        FEDVSR_NAMESPACE="other",
    )
    specification, executors = load(text)
    containers = specification["deploymentSpec"]["executors"].values()
    images = {executor["container"]["image"] for executor in containers}
    assert images == {"registry/a:1", "registry/b:2"}
    for executor in executors.values():
        assert executor["configMapAsEnv"][0]["configMapName"] == "other"
        assert executor["secretAsEnv"][0]["secretName"] == "other-federation"
