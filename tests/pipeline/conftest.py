"""The chart, rendered by helm."""

import os
import shutil
import subprocess

import pytest
import yaml

from tests.pipeline.chart import CHART, GIVEN, merged

HELM = os.environ.get("HELM") or shutil.which("helm")


@pytest.fixture(scope="module")
def helm(tmp_path_factory):
    """Runs a helm command on the chart with values."""
    if not HELM:
        pytest.skip("helm is not on PATH and HELM does not name it")
    folder = tmp_path_factory.mktemp("helm")
    # Helm's own settings and plugins stay out of it.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(*arguments, values):
        path = folder / "values.yaml"
        path.write_text(yaml.safe_dump(merged(GIVEN, values)))
        return subprocess.run(
            [HELM, *arguments, "--namespace", "fedvsr", "--values", path],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def render(helm):
    """Returns the objects that the chart makes of values."""

    def objects(values, only=()):
        chosen = [word for name in only for word in ("--show-only", f"templates/{name}")]
        done = helm("template", "fedvsr", CHART, *chosen, values=values)
        assert done.returncode == 0, done.stderr
        return [found for found in yaml.safe_load_all(done.stdout) if found]

    return objects
