"""Running other programs, here and against the cluster."""

import subprocess
import sys
from dataclasses import dataclass

from scripts.deploy.settings import Settings


class DeployError(Exception):
    """What is wrong and what to do, in one line."""


class CommandError(DeployError):
    """A program failed; its own words are in the message."""

    def __init__(self, command: tuple[str, ...], reason: str) -> None:
        self.reason = reason.strip()
        super().__init__(f"`{' '.join(command)}` failed: {self.reason}")


def say(text: str) -> None:
    """Tells a person what happens."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def run(*command: str) -> None:
    """Runs a program whose output a person sees."""
    try:
        status = subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise CommandError(command, f"{command[0]} is not there") from None
    if status:
        raise CommandError(command, f"exit code {status}, see above")


def read(*command: str, stdin: str | None = None) -> str:
    """Runs a program and returns its output."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CommandError(command, f"{command[0]} is not there") from None
    if done.returncode:
        # A warning may stand first, a usage text after it: the line that says error is the one to show.
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = [line for line in lines if line.lower().startswith(("error", "unable", "the connection"))]
        raise CommandError(command, (told or lines or [f"exit code {done.returncode}"])[-1])
    return done.stdout


def succeeds(*command: str) -> bool:
    """Whether a program is there and ends well."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Cluster:
    """kubectl and helm for one cluster.

    Attributes:
        prefix: A command that runs others where the cluster is reached.
        context: Its name in the kubeconfig file, empty for the current one.
    """

    prefix: tuple[str, ...]
    context: str

    @classmethod
    def of(cls, settings: Settings) -> "Cluster":
        return cls(settings.exec, settings.kube_context)

    def kubectl_command(self, *arguments: str) -> tuple[str, ...]:
        """Returns the command line of kubectl for this cluster."""
        context = ("--context", self.context) if self.context else ()
        return (*self.prefix, "kubectl", *context, *arguments)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl and returns its output."""
        return read(*self.kubectl_command(*arguments), stdin=stdin)

    def exists(self, kind: str, name: str, namespace: str) -> bool:
        """Whether an object is there."""
        found = self.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "name")
        return bool(found.strip())

    def helm_command(self, *arguments: str) -> tuple[str, ...]:
        """Returns the command line of helm for this cluster."""
        context = ("--kube-context", self.context) if self.context else ()
        return (*self.prefix, "helm", *arguments, *context)

    def helm(self, *arguments: str) -> str:
        """Runs helm and returns its output."""
        return read(*self.helm_command(*arguments))
