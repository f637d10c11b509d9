"""Renders the charts with helm."""

import os
import shutil
import subprocess

import pytest
import yaml

from tests.pipeline.chart import CHART, GENERATED_VALUES, SITE_CHART, merged

HELM = os.environ.get("HELM") or shutil.which("helm")


@pytest.fixture(scope="module")
def run_helm(tmp_path_factory):
    """Runs a helm command with values."""
    if not HELM:
        pytest.skip("helm is not on PATH and HELM does not name it")
    folder = tmp_path_factory.mktemp("helm")
    # Without the user's helm settings and plugins.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(*arguments, values, namespace="fedvsr"):
        path = folder / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        return subprocess.run(
            [HELM, *arguments, "--namespace", namespace, "--values", path],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def helm(run_helm):
    """Runs a helm command on the chart fedvsr with values, and with those that the chart would generate."""

    def run(*arguments, values, namespace="fedvsr"):
        return run_helm(*arguments, values=merged(GENERATED_VALUES, values), namespace=namespace)

    return run


@pytest.fixture(scope="module")
def render(helm):
    """Renders the chart fedvsr, or only some templates, with values; returns the objects."""

    def objects(values, only=(), namespace="fedvsr"):
        options = [word for name in only for word in ("--show-only", f"templates/{name}")]
        return parsed(helm("template", "fedvsr", CHART, *options, values=values, namespace=namespace))

    return objects


@pytest.fixture(scope="module")
def render_site(run_helm):
    """Renders the chart fedvsr-site with values; returns the objects."""

    def objects(values):
        return parsed(run_helm("template", "site", SITE_CHART, values=values, namespace="hospital"))

    return objects


def parsed(done):
    """Returns the objects that helm has rendered."""
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]
