"""What goes wrong at a site, and what the round's table says about it.

    python benchmarks/site_faults.py [FAULT]...

A real S3 server with TLS and one site as a process of its own, on this machine. Each fault is a run of one
round. The last column compares the delivered weights with those of an undisturbed site. `faketime` (a Debian
package) is needed for the wrong clock, and root for the full disk.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml
from slow_network import SlowNetwork

from fedvsr.access.invitation import Invitation
from fedvsr.access.sites import FrontDoor, invite_site, revoke_site, rotate_site, site_user
from fedvsr.config.run import RunConfig
from fedvsr.errors import NotFoundError
from fedvsr.experiment.trial import operator_of
from fedvsr.experiment.trial_server import TrialServer, trial_server
from fedvsr.federation import layout
from fedvsr.federation.records import ClientOutcome
from fedvsr.federation.run import sites
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.sites import SiteRunner
from fedvsr.federation.run.training_round import train_round
from fedvsr.progress import Progress
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_admin import S3Admin
from fedvsr.store.workspace import Workspace

SITE, BUCKET, RUN = "ann", "fedvsr", "faults"
SAMPLES = Path(__file__).parents[1] / "samples"
Act = Callable[[], None]


class Faults:
    """One federation with one site, in a folder."""

    def __init__(self, root: Path, server: TrialServer) -> None:
        self.root, self.server = root, server
        self.admin = S3Admin()
        self.admin.wait(60, lambda line: None)
        self.admin.make_bucket(BUCKET)
        self.store = S3Store(BUCKET)
        self.number = 0
        self.reference = ""
        videos = root / "videos"
        videos.mkdir()
        shutil.copy(SAMPLES / "train_036.mp4", videos)

    def folder(self, port: int = 0, ca: str | None = None, **settings: object) -> Path:
        """Invites the site anew, and joins in a new folder, by way of a port of this machine."""
        self.number += 1
        endpoint = f"https://127.0.0.1:{port}" if port else self.server.endpoint
        ca = self.server.ca_certificate if ca is None else ca
        self.admin.remove_user(site_user(SITE))
        invitation = invite_site(self.store, self.admin, FrontDoor("faults", endpoint, BUCKET, ca), SITE)
        return self.join(invitation, **settings)

    def join(self, invitation: Invitation, **settings: object) -> Path:
        folder = self.root / f"site-{self.number}"
        folder.mkdir(mode=0o700, exist_ok=True)
        invitation.write(folder / "invitation.json")
        values = {"videos": str(self.root / "videos"), **settings}
        (folder / "site.yaml").write_text(yaml.safe_dump(values))
        self.store.delete(layout.heartbeat(SITE))
        return folder

    @contextmanager
    def agent(
        self, folder: Path, *prefix: str, program: Sequence[str] = ("-m", "fedvsr")
    ) -> Iterator[subprocess.Popen[bytes]]:
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 -- our own program
                [*prefix, sys.executable, *program, "site", "start", "--folder", str(folder)],
                env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def log(self, folder: Path) -> str:
        return (folder.parent / f"{folder.name}.log").read_text()

    def round(self, when: str = "", act: Act = lambda: None, **changes: object) -> tuple[ClientOutcome, str]:
        """Runs a round. Calls ``act`` once, when a line of the round's log has a text."""
        values = {
            "name": RUN,
            "data": {"scale": 4, "split_shots": False, "maximum_frames": 24},
            "model": {"name": "fastvsr"},
            "strategy": {"name": "fedavg"},
            "federation": {"rounds": 1, "clients": [SITE], "deadline_seconds": 300},
            "training": {
                **{"local_steps": 20, "batch_size": 1, "frames": 3, "patch_size": 64},
                **{"device": "cpu", "threads": 1},
            },
        }
        for name, value in changes.items():
            section, field = name.split("__")
            values[section] = {**values[section], field: value}  # type: ignore[dict-item]
        config = RunConfig.parse(values)
        # The run's name is part of its seed, so only runs of one name have the same weights.
        for key in list(self.store.keys(f"runs/{RUN}/")):
            self.store.delete(key)
        record = prepare_run(self.store, config)
        progress = _When(when, act)
        outcomes = train_round(Workspace(f"s3://{BUCKET}", ""), record, 1, SiteRunner(), progress)
        outcome = outcomes.outcomes[0]
        return outcome, self._compare()

    def _compare(self) -> str:
        try:
            fingerprint = self.store.fingerprint(layout.update(RUN, 1, SITE))
        except NotFoundError:
            return "none"
        self.reference = self.reference or fingerprint
        return "same bytes" if fingerprint == self.reference else "other bytes"


class _When(Progress):
    def __init__(self, text: str, act: Act) -> None:
        self._text, self._act, self._done = text, act, False

    def message(self, text: str) -> None:
        print(f"    {text}", flush=True)
        if self._text and self._text in text and not self._done:
            self._done = True
            self._act()


def _restarted(faults: Faults, folder: Path, state: str) -> tuple[ClientOutcome, str]:
    """Kills the agent in a state, and starts it again."""
    with ExitStack() as stack:
        first = stack.enter_context(faults.agent(folder))

        def kill() -> None:
            first.kill()
            first.wait()
            stack.enter_context(faults.agent(folder))

        return faults.round(f"{SITE} | {state}", kill)


def none(faults: Faults) -> tuple[ClientOutcome, str]:
    with faults.agent(faults.folder()):
        return faults.round()


def killed_while_sharding(faults: Faults) -> tuple[ClientOutcome, str]:
    return _restarted(faults, faults.folder(), "sharding")


def killed_while_training(faults: Faults) -> tuple[ClientOutcome, str]:
    return _restarted(faults, faults.folder(), "training")


def killed_while_uploading(faults: Faults) -> tuple[ClientOutcome, str]:
    return _restarted(faults, faults.folder(resources={"bandwidth": 100_000}), "uploading")


def network_gone_90_s_in_an_upload(faults: Faults) -> tuple[ClientOutcome, str]:
    network = SlowNetwork(_port(faults), bits_per_second=1e6)
    folder = faults.folder(network.port)

    def cut() -> None:
        network.cut()
        threading.Timer(90, network.mend).start()

    with faults.agent(folder):
        return faults.round(f"{SITE} | uploading", cut)


def latency_200_ms_2_mbit_1_percent_loss(faults: Faults) -> tuple[ClientOutcome, str]:
    network = SlowNetwork(_port(faults), one_way_seconds=0.1, bits_per_second=2e6, loss=0.01)
    with faults.agent(faults.folder(network.port)):
        return faults.round()


def clock_20_minutes_off(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.folder()
    with faults.agent(folder, "faketime", "-f", "+20m"):
        outcome = faults.round(federation__deadline_seconds=60)
    _tell(faults, folder)
    return outcome


def wrong_authority(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.folder(ca="")
    with faults.agent(folder):
        outcome = faults.round(federation__deadline_seconds=60)
    _tell(faults, folder)
    return outcome


def expired_keys(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.folder()
    path = folder / "invitation.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "expires": "2026-01-01T00:00:00Z"}))
    with faults.agent(folder):
        outcome = faults.round(federation__deadline_seconds=60)
    _tell(faults, folder)
    return outcome


def revoked_in_training(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.folder()

    def revoke() -> None:
        revoke_site(faults.store, faults.admin, SITE)

    with faults.agent(folder):
        outcome = faults.round(f"{SITE} | training", revoke, training__local_steps=5000)
        time.sleep(20)
    _tell(faults, folder)
    return outcome


def rotated_in_training(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.folder()
    door = FrontDoor("faults", faults.server.endpoint, BUCKET, faults.server.ca_certificate)

    with ExitStack() as stack:
        first = stack.enter_context(faults.agent(folder))

        def rotate() -> None:
            invitation = rotate_site(faults.store, faults.admin, door, SITE)
            first.terminate()
            first.wait()
            invitation.write(folder / "invitation.json")
            stack.enter_context(faults.agent(folder))

        return faults.round(f"{SITE} | training", rotate)


def disk_full(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.root / f"site-{faults.number + 1}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)  # noqa: S603, S607
    try:
        with faults.agent(faults.folder(resources={"minimum_free_disk": 0})):
            return faults.round()
    finally:
        subprocess.run(["umount", folder], check=False)  # noqa: S603, S607


def little_disk(faults: Faults) -> tuple[ClientOutcome, str]:
    with faults.agent(faults.folder(resources={"minimum_free_disk": "100TB"})):
        return faults.round()


def two_agents(faults: Faults) -> tuple[ClientOutcome, str]:
    folder = faults.folder()
    with faults.agent(folder):
        _wait_for_heartbeat(faults)
        copy = faults.root / f"{folder.name}-copy"
        copy.mkdir()
        for name in ("site.yaml", "invitation.json"):
            shutil.copy(folder / name, copy)
        with faults.agent(copy) as second:
            print(f"    the second agent ends with code {second.wait(60)}")
        print(f"    it says: {faults.log(copy).strip()[-300:]}")
        return faults.round()


def policy_declines(faults: Faults) -> tuple[ClientOutcome, str]:
    with faults.agent(faults.folder(policy={"runs": ["demo-*"]})):
        return faults.round()


def foreign_model(faults: Faults) -> tuple[ClientOutcome, str]:
    with faults.agent(faults.folder()):
        return faults.round(model__name="fedvsr.models.fastvsr:FastVSR")


def newer_federation(faults: Faults) -> tuple[ClientOutcome, str]:
    make = sites.training_assignment
    sites.training_assignment = lambda *arguments: make(*arguments).model_copy(update={"protocol": 2})
    try:
        with faults.agent(faults.folder()):
            return faults.round()
    finally:
        sites.training_assignment = make


def newer_site(faults: Faults) -> tuple[ClientOutcome, str]:
    script = (
        "import fedvsr.federation.site_records as records; records.PROTOCOL = 2; "
        "records.HeartbeatRecord.model_fields['protocol'].default = 2; "
        "records.HeartbeatRecord.model_rebuild(force=True); "
        "from fedvsr.cli.main import main; main()"
    )
    with faults.agent(faults.folder(), program=["-c", script]):
        return faults.round()


FAULTS = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__annotations__", {}).get("faults") is Faults and name[0] != "_"
}


def _port(faults: Faults) -> int:
    return int(faults.server.endpoint.rpartition(":")[2])


def _tell(faults: Faults, folder: Path) -> None:
    for line in faults.log(folder).splitlines()[-3:]:
        print(f"    the site's log: {line[:300]}")


def _wait_for_heartbeat(faults: Faults) -> None:
    while not faults.store.exists(layout.heartbeat(SITE)):
        time.sleep(0.2)


def main(names: list[str]) -> None:
    """Runs the faults, and prints a table of what the rounds' tables say."""
    rows = []
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(trial_server(root / "server"))
        stack.enter_context(operator_of(server, BUCKET))
        faults = Faults(root, server)
        for name in dict.fromkeys(["none", *(names or FAULTS)]):
            print(name, flush=True)
            began = time.monotonic()
            outcome, weights = FAULTS[name](faults)
            rows.append((name, outcome, weights, time.monotonic() - began))
    print(f"\n{'fault':<40}{'outcome':<11}{'s':>5}  {'update':<18} reason")
    for name, outcome, weights, seconds in rows:
        print(f"{name:<40}{outcome.outcome:<11}{seconds:>5.0f}  {weights:<18} {outcome.reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
