"""The compiled pipeline in git is what people upload; it must be that of the code."""

import inspect
import os
import subprocess
import sys

import pytest
import yaml

from fedvsr.config.parameters import FIELDS, OTHERS, to_fields
from fedvsr.config.run import RunConfig
from pipelines.cluster import ADDRESSES, CREDENTIALS
from pipelines.federated_training import COMPILED, federated_training

pytestmark = pytest.mark.pipeline

STEPS = {"prepare", "shard", "train_clients", "evaluate", "aggregate", "register"}
# Parameters of the pipeline that are no settings of the run.
OWN = {"registered_model", "evaluation_gpus", "evaluation_memory"}


def load(text):
    """The pipeline, and what it asks of Kubernetes."""
    specification, platforms = yaml.safe_load_all(text)
    return specification, platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def compile_for(path, **variables):
    """What another process compiles with these variables alone."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FEDVSR_")}
    script = f"from pipelines.federated_training import *; compile_pipeline(Path({os.fspath(path)!r}))"
    subprocess.run(
        [sys.executable, "-c", script], env={**kept, **variables}, cwd=COMPILED.parents[1], check=True
    )
    return path.read_text()


@pytest.fixture(scope="module")
def specification():
    return load(COMPILED.read_text())[0]


@pytest.fixture(scope="module")
def executors():
    return load(COMPILED.read_text())[1]


def steps(specification):
    """Every step's task: those of the pipeline and those of its loop."""
    dags = [specification["root"]["dag"]]
    dags += [each["dag"] for each in specification["components"].values() if "dag" in each]
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
    assert all(each.get("description") for each in parameters.values())
    required = {name for name, each in parameters.items() if not each.get("isOptional")}
    assert required == {"run_name"}


def test_a_run_without_settings_is_that_of_the_configuration_without_settings():
    signature = inspect.signature(federated_training.pipeline_func)
    assert set(signature.parameters) == {*FIELDS, OTHERS, *OWN}
    given = {
        name: each.default for name, each in signature.parameters.items() if name not in {*OWN, "run_name"}
    }
    values = {"name": "run"}
    for field, value in to_fields(given).items():
        section, _, leaf = field.rpartition(".")
        (values.setdefault(section, {}) if section else values)[leaf] = value
    assert RunConfig.parse(values) == RunConfig(name="run")


def test_no_step_is_cached_or_installs_packages(specification):
    assert len(steps(specification)) == 7
    assert all("enableCache" not in task["cachingOptions"] for task in steps(specification))
    for executor in specification["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_every_step_has_a_name_for_people(specification):
    names = {task["taskInfo"]["name"] for task in steps(specification)}
    assert len(names) == 7
    assert all(" " in name for name in names)


def test_every_step_has_the_deployments_addresses_and_credentials(specification, executors):
    assert set(executors) == set(specification["deploymentSpec"]["executors"])
    for executor in executors.values():
        (addresses,) = executor["configMapAsEnv"]
        assert (addresses["configMapName"], addresses["optional"]) == ("fedvsr", False)
        names = {each["configMapKey"]: each["envVar"] for each in addresses["keyToEnv"]}
        assert names == {name: name for name in ADDRESSES}
        (credentials,) = executor["secretAsEnv"]
        assert (credentials["secretName"], credentials["optional"]) == ("fedvsr-federation", False)
        names = {each["secretKey"]: each["envVar"] for each in credentials["keyToEnv"]}
        assert names == {name: name for name in CREDENTIALS}


def test_steps_that_build_a_network_run_in_the_image_that_can(specification):
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


def test_every_step_says_what_it_needs(specification):
    for name, executor in specification["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["resourceMemoryRequest"]
        assert resources["resourceMemoryLimit"]
        assert ("accelerator" in resources) == name.startswith("exec-evaluate")


def test_the_loop_hands_on_the_parameters_of_an_evaluations_resources(specification):
    """KFP's driver looks for them among the loop's inputs, where the compiler alone does not put them."""
    loop = specification["components"]["comp-rounds-from-0"]
    for name in ("evaluation_gpus", "evaluation_memory"):
        kind = loop["inputDefinitions"]["parameters"][f"pipelinechannel--{name}"]["parameterType"]
        # A number is taken for no GPU.
        assert kind == "STRING"


def test_rounds_run_one_at_a_time(specification):
    (loop,) = (task for task in specification["root"]["dag"]["tasks"].values() if "iteratorPolicy" in task)
    assert loop["iteratorPolicy"]["parallelismLimit"] == 1


def test_a_deployment_has_images_and_names_of_its_own(tmp_path):
    text = compile_for(
        tmp_path / "other.yaml",
        FEDVSR_IMAGE="registry/a:1",
        FEDVSR_TRAINER_IMAGE="registry/b:2",
        FEDVSR_NAMESPACE="other",
    )
    specification, executors = load(text)
    images = {each["container"]["image"] for each in specification["deploymentSpec"]["executors"].values()}
    assert images == {"registry/a:1", "registry/b:2"}
    for executor in executors.values():
        assert executor["configMapAsEnv"][0]["configMapName"] == "other"
        assert executor["secretAsEnv"][0]["secretName"] == "other-federation"
