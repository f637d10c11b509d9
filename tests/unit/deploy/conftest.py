"""Fake kubectl, helm and other programs: they print what a test sets and record their command lines."""

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster

NAMES = ("kubectl", "helm", "docker", "podman", "buildah", "kind", "minikube")
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
    """The programs on PATH. Every call succeeds unless a test sets another answer."""

    folder: Path

    def answer(self, pattern: str, output: str = "", status: int = 0) -> None:
        """Sets the output and exit code for command lines that match; the last match counts."""
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
    # Variables for a real cluster, from the shell or from make, must not reach a test.
    for name in ("KUBECONFIG", *(field.name.upper() for field in fields(Settings))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: _which(tmp_path / "bin", name))
    programs = Programs(tmp_path)
    programs.answer("^kubectl config current-context", "somewhere")
    programs.answer("^kubectl get service ml-pipeline ", "service/ml-pipeline")
    programs.answer("^kubectl get storageclass", json.dumps({"items": [DEFAULT_CLASS]}))
    programs.answer("^helm template", CLAIM)
    return programs


def _which(folder, name):
    """Replaces `shutil.which`: finds only the fake programs, not those of this machine."""
    return str(folder / name) if (folder / name).exists() else None


@pytest.fixture
def cluster():
    return Cluster((), "")


def settings(**variables):
    """Returns the settings for these make variables and the defaults of the others."""
    return Settings.read({name.upper(): value for name, value in variables.items()})
