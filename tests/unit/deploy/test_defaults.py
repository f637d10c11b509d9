"""Defaults that the Makefile, the scripts, the chart, the images and the pipeline must share."""

import re
import tomllib
from dataclasses import fields
from urllib.parse import urlsplit

import pytest
import yaml

from fedvsr.kubeflow.connection import DEFAULT_ENDPOINT
from fedvsr.kubeflow.pipeline import DEFAULT_NAMESPACE
from scripts.deploy import kfp, settings, ui
from scripts.deploy.images import CONTROL, TRAINER
from scripts.deploy.settings import CHART, ROOT, Settings
from scripts.deploy.shell import Cluster

MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / "images" / CONTROL / "Dockerfile").read_text()
VALUES = yaml.safe_load((ROOT / CHART / "values.yaml").read_text())
CHART_METADATA = yaml.safe_load((ROOT / CHART / "Chart.yaml").read_text())
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def makefile_defaults():
    return dict(re.findall(r"^([A-Z_]+) +\?= *([^#]*?)#", MAKEFILE, re.MULTILINE))


def test_the_makefile_exports_every_setting():
    exported = re.search(r"^DEPLOYMENT := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE).group(1)
    names = {field.name.upper() for field in fields(Settings)}
    assert set(exported.replace("\\", "").split()) == names
    assert names <= makefile_defaults().keys()


def test_the_makefile_and_the_scripts_have_the_same_defaults():
    assert Settings.read(makefile_defaults()) == Settings.read({})


def test_the_default_namespace_is_the_same_in_the_scripts_and_in_fedvsr():
    assert settings.DEFAULT_NAMESPACE == DEFAULT_NAMESPACE


def test_the_chart_has_the_scripts_image_names_and_registry():
    images = VALUES["images"]
    assert (images["control"], images["trainer"]) == (CONTROL, TRAINER)
    assert images["registry"] == Settings.read({}).image_registry


def test_the_chart_expects_kfp_where_the_scripts_do():
    assert VALUES["kfp"]["namespace"] == Settings.read({}).kfp_namespace == kfp.NAMESPACE


def test_the_chart_has_fedvsrs_version():
    assert (CHART_METADATA["version"], CHART_METADATA["appVersion"]) == (VERSION, VERSION)


@pytest.mark.parametrize(("name", "variable"), [(CONTROL, "FEDVSR_IMAGE"), (TRAINER, "FEDVSR_TRAINER_IMAGE")])
def test_the_pipelines_default_images_are_the_charts(name, variable):
    source = (ROOT / "components" / "image.py").read_text()
    (default,) = re.findall(rf'environ\.get\("{variable}", "([^"]+)"\)', source)
    assert default == f"{VALUES['images']['registry']}/{name}:{CHART_METADATA['appVersion']}"


def test_the_plain_base_image_is_that_of_the_control_image():
    assert f"ARG BASE_IMAGE={settings.CPU_BASE_IMAGE}\n" in DOCKERFILE


def test_ui_forwards_to_the_ports_that_the_commands_and_the_chart_expect(programs):
    programs.answer("^kubectl get service ", "service/any")
    ports = {service: local for service, _, _, local in ui._services(Settings.read({}), Cluster((), ""))}
    assert ports["ml-pipeline-ui"] == urlsplit(DEFAULT_ENDPOINT).port
    assert ports["mlflow"] == urlsplit(VALUES["mlflow"]["publicUrl"]).port
