"""Sites of the tests: agents as processes outside the cluster, which reach the front door only."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedvsr.site.audit import AuditEntry, AuditLog
from fedvsr.site.folder import SiteFolder
from tests.cluster.deployment import ROOT, Deployment, command

PROGRAM = Path(sys.executable).with_name("fedvsr")
# What a site's owner has: nothing of the deployment, no kube context.
_VARIABLES = ("PATH", "LANG", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Site:
    """A site that has joined.

    Attributes:
        name: Its name.
        folder: Its own folder.
    """

    name: str
    folder: Path

    def fedvsr(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `fedvsr site` as the site's owner."""
        done = subprocess.run(
            [str(PROGRAM), "site", *map(str, arguments), "--folder", str(self.folder)],
            env=owner_environment(self.folder),
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}\n{self.log}"
        return done

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Runs the site's agent in the block."""
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(PROGRAM), "site", "start", "--folder", str(self.folder)],
                env=owner_environment(self.folder),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    @property
    def log(self) -> str:
        path = self.folder.parent / f"{self.name}.log"
        return path.read_text() if path.exists() else ""

    def wait_for(self, text: str, seconds: float) -> None:
        """Waits until the agent's log has a text."""
        end = time.monotonic() + seconds
        while text not in self.log:
            assert time.monotonic() < end, f"no {text!r} within {seconds} s:\n{self.log}"
            time.sleep(0.5)

    def audit(self) -> list[AuditEntry]:
        return list(AuditLog(SiteFolder(self.folder).audit).entries())


def operator(
    deployment: Deployment, *arguments: object, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `fedvsr sites` with the administrator's keys of the S3 server."""
    root = deployment.secret(deployment.namespace, "fedvsr-s3")
    settings = deployment.settings()
    environment = {
        **deployment.environment(),
        "AWS_ACCESS_KEY_ID": root["rootUser"],
        "AWS_SECRET_ACCESS_KEY": root["rootPassword"],
        "FEDVSR_CLIENTS": settings["FEDVSR_CLIENTS"],
        "FEDVSR_SITE_ADDRESS": deployment.front_door,
        "FEDVSR_SITE_CA": settings["FEDVSR_SITE_CA"],
        # So that no cell of a table is folded.
        "COLUMNS": "250",
    }
    return command(PROGRAM, "sites", *arguments, environment=environment, check=check)


def invite(deployment: Deployment, name: str, videos: Sequence[str], folder: Path) -> Site:
    """Invites a site, and joins with some of the samples as its videos."""
    source = folder / f"{name}-videos"
    source.mkdir()
    for video in videos:
        shutil.copy(ROOT / "samples" / video, source)
    invitation = folder / f"{name}.fedvsr-invitation"
    operator(deployment, "invite", name, "--output", invitation)
    site = Site(name, folder / name)
    site.fedvsr("join", invitation, "--videos", source)
    return site


def owner_environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), **{name: os.environ[name] for name in _VARIABLES if name in os.environ}}
