"""Starts and stops the worker of a site's agent."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from fedvsr.federation.site_records import AssignmentRecord
from fedvsr.site.folder import SiteFolder

# The worker ends at once on SIGTERM. One that hangs, for example in a driver, is killed.
_GRACE_SECONDS = 10.0
_GPUS = "CUDA_VISIBLE_DEVICES"


class Launcher(Protocol):
    """Runs one worker at a time. Its assignment is in the site's folder before it starts."""

    def start(self, assignment: AssignmentRecord) -> None:
        """Starts the worker."""

    def poll(self) -> int | None:
        """Returns the exit code of the worker that was started last, or None while it runs."""

    def stop(self) -> None:
        """Stops the worker, and returns when it is gone. Does nothing if none runs."""

    def describe_wait(self) -> str | None:
        """Returns why the worker has not begun, such as ``no node has a free GPU``, or None."""


class ProcessLauncher:
    """Runs the worker as a child process, which ends when the agent ends, however that ends.

    Args:
        folder: The site's folder.
        devices: ``resources.devices`` of the site's settings.
    """

    def __init__(self, folder: SiteFolder, devices: str = "auto") -> None:
        self._folder, self._devices = folder, devices
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, assignment: AssignmentRecord) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-m", "fedvsr", "site", "work", "--watch-stdin", *folder_options(self._folder)],
            stdin=subprocess.PIPE,
            env=self._environment(),
            # Ctrl-C reaches the agent, which stops the worker.
            start_new_session=True,
        )

    def poll(self) -> int | None:
        return self._process.poll() if self._process else 0

    def stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def describe_wait(self) -> str | None:
        return None

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self._devices != "auto":
            environment[_GPUS] = "" if self._devices == "cpu" else self._devices
        return environment


def make_launcher(folder: SiteFolder, devices: str) -> Launcher:
    """Returns the launcher of this machine.

    Args:
        folder: The site's folder.
        devices: ``resources.devices`` of the site's settings.
    """
    return ProcessLauncher(folder, devices)


def folder_options(folder: SiteFolder) -> list[str]:
    """Returns the options of `fedvsr site work` that name a site's folder and files."""
    named: list[tuple[str, Path]] = [
        ("--folder", folder.root),
        ("--settings", folder.settings),
        ("--invitation", folder.invitation),
    ]
    return [text for option, path in named for text in (option, str(path))]
