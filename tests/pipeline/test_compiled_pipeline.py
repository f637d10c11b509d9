"""The compiled pipeline in git is what people upload; it must be that of the code."""

import pytest
import yaml

from pipelines.federated_training import COMPILED, compile_pipeline

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def specification():
    return next(yaml.safe_load_all(COMPILED.read_text()))


def test_the_file_in_git_is_current(tmp_path, monkeypatch):
    monkeypatch.delenv("FEDVSR_IMAGE", raising=False)
    compile_pipeline(tmp_path / "compiled.yaml")
    assert COMPILED.read_text() == (tmp_path / "compiled.yaml").read_text(), "run `make compile`"


def test_every_parameter_is_described(specification):
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    assert all(each.get("description") for each in parameters.values())
    required = {name for name, each in parameters.items() if not each.get("isOptional")}
    assert required == {"run_name"}


def test_no_step_is_cached_or_installs_packages(specification):
    dags = [specification["root"]["dag"]]
    dags += [each["dag"] for each in specification["components"].values() if "dag" in each]
    steps = [
        task
        for dag in dags
        for task in dag["tasks"].values()
        if "dag" not in specification["components"][task["componentRef"]["name"]]
    ]
    assert len(steps) == 7
    assert all("enableCache" not in task["cachingOptions"] for task in steps)
    for executor in specification["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_rounds_run_one_at_a_time(specification):
    (loop,) = (task for task in specification["root"]["dag"]["tasks"].values() if "iteratorPolicy" in task)
    assert loop["iteratorPolicy"]["parallelismLimit"] == 1
