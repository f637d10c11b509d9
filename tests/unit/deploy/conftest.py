"""kubectl, helm and the like as programs that answer what a test says and note what they were asked."""

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster

NAMES = ("kubectl", "helm", "docker", "podman", "buildah", "kind", "minikube")
VARIABLES = (
    "BASE_IMAGE",
    "BUILD_FLAGS",
    "CONTAINER_TOOL",
    "EXEC",
    "IMAGE_LOADER",
    "IMAGE_REGISTRY",
    "KFP",
    "KFP_ENDPOINT",
    "KFP_INSTALL",
    "KFP_NAMESPACE",
    "KUBECONFIG",
    "KUBE_CONTEXT",
    "NAMESPACE",
    "PURGE",
    "TORCH",
    "VALUES",
)
_FAKE = """#!{python} -IS
import json, os, re, sys
line = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
with open({log!r}, "a") as log:
    log.write(line + "\\n")
for pattern, output, status in reversed(json.load(open({answers!r}))):
    if re.search(pattern, line):
        print(output, file=sys.stderr if status else sys.stdout)
        sys.exit(status)
"""
DEFAULT_CLASS = {
    "metadata": {
        "name": "standard",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    }
}
CLAIM = "---\nkind: PersistentVolumeClaim\nspec:\n  accessModes: [ReadWriteOnce]\n"


@dataclass
class Programs:
    """The programs on PATH, every call of which ends well unless a test says otherwise."""

    folder: Path

    def answer(self, pattern: str, output: str = "", status: int = 0) -> None:
        """Says what a command line that matches is answered; the last word counts."""
        path = self.folder / "answers.json"
        path.write_text(json.dumps([*json.loads(path.read_text()), (pattern, output, status)]))

    def remove(self, name: str) -> None:
        (self.folder / "bin" / name).unlink()

    @property
    def calls(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def called(self, beginning: str) -> list[str]:
        return [call for call in self.calls if call.startswith(beginning)]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    log, answers = tmp_path / "log", tmp_path / "answers.json"
    log.touch()
    answers.write_text("[]")
    (tmp_path / "bin").mkdir()
    for name in NAMES:
        path = tmp_path / "bin" / name
        path.write_text(_FAKE.format(python=sys.executable, log=str(log), answers=str(answers)))
        path.chmod(0o755)
    # What a shell has set for a real cluster would have a test deploy to it.
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    # What make exports to every target, these tests among them.
    for field in fields(Settings):
        monkeypatch.delenv(field.name.upper(), raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: _which(tmp_path / "bin", name))
    programs = Programs(tmp_path)
    programs.answer("^kubectl config current-context", "somewhere")
    programs.answer("^kubectl get service ml-pipeline ", "service/ml-pipeline")
    programs.answer("^kubectl get storageclass", json.dumps({"items": [DEFAULT_CLASS]}))
    programs.answer("^helm template", CLAIM)
    return programs


def _which(folder, name):
    """As `shutil.which`, for the programs of a test alone: this machine may have real ones."""
    return str(folder / name) if (folder / name).exists() else None


@pytest.fixture
def cluster():
    return Cluster((), "")


def settings(**variables):
    """The settings of these make variables and no others."""
    return Settings.read({name.upper(): value for name, value in variables.items()})
