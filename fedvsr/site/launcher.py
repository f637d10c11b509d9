"""Starts and stops the worker of a site's agent."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fedvsr.cluster.site_settings import SITE_JOB_VARIABLE, load_site_job
from fedvsr.federation.site_records import AssignmentRecord
from fedvsr.progress import LogProgress
from fedvsr.site.checks import gpu_names
from fedvsr.site.folder import SiteFolder
from fedvsr.waiting import end_process

# The worker ends at once on SIGTERM. One that hangs, for example in a driver, is killed.
_GRACE_SECONDS = 10.0
_GPUS = "CUDA_VISIBLE_DEVICES"


class Launcher(Protocol):
    """Runs one worker at a time. Its assignment is in the site's folder before it starts."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """The names of the GPUs that a worker may use."""

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

    @property
    def gpus(self) -> tuple[str, ...]:
        return gpu_names(self._devices)

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
        if self._process and self._process.poll() is None:
            end_process(self._process, _GRACE_SECONDS)

    def describe_wait(self) -> str | None:
        return None

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self._devices != "auto":
            environment[_GPUS] = "" if self._devices == "cpu" else self._devices
        return environment


def make_launcher(folder: SiteFolder, devices: str, site: str, log: Callable[[str], None]) -> Launcher:
    """Returns the launcher of this machine: by Jobs if FEDVSR_SITE_JOB names their settings.

    Args:
        folder: The site's folder.
        devices: ``resources.devices`` of the site's settings.
        site: The site's name.
        log: Receives the lines of a Job's log.
    """
    path = os.environ.get(SITE_JOB_VARIABLE)
    if not path:
        return ProcessLauncher(folder, devices)
    # Imported here, because only a site on Kubernetes needs its library.
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.site_launcher import JobLauncher

    return JobLauncher(Cluster(), load_site_job(Path(path)), site, LogProgress(log))


def folder_options(folder: SiteFolder) -> list[str]:
    """Returns the options of `fedvsr site work` that name a site's folder and files."""
    named: list[tuple[str, Path]] = [
        ("--folder", folder.root),
        ("--settings", folder.settings),
        ("--invitation", folder.invitation),
    ]
    return [text for option, path in named for text in (option, str(path))]
