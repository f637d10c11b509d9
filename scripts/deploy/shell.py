"""Runs programs on this machine, and kubectl and helm for the cluster."""

import subprocess
import sys
from dataclasses import dataclass

from scripts.deploy.settings import Settings


class DeployError(Exception):
    """An error whose message says in one line what is wrong and what to do."""


class CommandError(DeployError):
    """A program failed. The message contains the error that it printed."""

    def __init__(self, command: tuple[str, ...], reason: str) -> None:
        self.reason = reason.strip()
        super().__init__(f"`{' '.join(command)}` failed: {self.reason}")


def say(text: str) -> None:
    """Prints a progress line."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def run(*command: str) -> None:
    """Runs a program that prints to the terminal.

    Raises:
        CommandError: It failed or does not exist.
    """
    try:
        status = subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise CommandError(command, f"{command[0]} is not installed") from None
    if status:
        raise CommandError(command, f"exit code {status}, see above")


def read(*command: str, stdin: str | None = None) -> str:
    """Runs a program and returns its output.

    Raises:
        CommandError: It failed or does not exist.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CommandError(command, f"{command[0]} is not installed") from None
    if done.returncode:
        raise CommandError(command, _error_line(done.stderr or done.stdout) or f"exit code {done.returncode}")
    return done.stdout


def _error_line(output: str) -> str:
    """Returns the line that names the error; warnings may precede it and a usage text may follow it."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "unable", "the connection"))]
    return (errors or lines or [""])[-1]


def run_succeeds(*command: str) -> bool:
    """Runs a program without showing its output; returns whether it exists and exits with code 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Cluster:
    """kubectl and helm for one cluster.

    Attributes:
        prefix: The words before every kubectl and helm command.
        context: The cluster's context in the kubeconfig file; empty for the current context.
    """

    prefix: tuple[str, ...]
    context: str

    @classmethod
    def of(cls, settings: Settings) -> "Cluster":
        """Returns the cluster that the settings name."""
        return cls(settings.exec, settings.kube_context)

    def kubectl_command(self, *arguments: str) -> tuple[str, ...]:
        """Returns the command line of kubectl for this cluster."""
        context = ("--context", self.context) if self.context else ()
        return (*self.prefix, "kubectl", *context, *arguments)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl and returns its output."""
        return read(*self.kubectl_command(*arguments), stdin=stdin)

    def exists(self, kind: str, name: str, namespace: str) -> bool:
        """Returns whether an object exists."""
        names = self.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "name")
        return bool(names.strip())

    def helm_command(self, *arguments: str) -> tuple[str, ...]:
        """Returns the command line of helm for this cluster."""
        context = ("--kube-context", self.context) if self.context else ()
        return (*self.prefix, "helm", *arguments, *context)

    def helm(self, *arguments: str) -> str:
        """Runs helm and returns its output."""
        return read(*self.helm_command(*arguments))
