"""A trial of sites on this machine: an S3 server, a federation and one agent per client, as processes.

Each agent has its own folder, videos and keys, and reaches the federation through TLS only, as a site in its
owner's house does.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedvsr.access.proof import Finding, search_federation
from fedvsr.access.sites import FrontDoor, invite_site, site_user
from fedvsr.config.experiment import Experiment
from fedvsr.errors import ConfigError, InputError
from fedvsr.experiment.remote import run_remotely
from fedvsr.experiment.results import ExperimentResult, results_folder
from fedvsr.experiment.trial_server import TrialServer, trial_server
from fedvsr.experiment.videos import collect_videos
from fedvsr.federation import layout
from fedvsr.federation.owner.uploading import upload_videos
from fedvsr.federation.owner.videos import LocalVideo
from fedvsr.federation.run.rounds import OnRound
from fedvsr.progress import Progress
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_admin import S3Admin
from fedvsr.store.s3_connection import CA_VARIABLE, ENDPOINT_VARIABLE
from fedvsr.store.workspace import FEDERATION_VARIABLE
from fedvsr.tracking.sqlite import sqlite_uri
from fedvsr.waiting import end_process

_BUCKET = "fedvsr"
_SERVER_SECONDS = 60.0
_GRACE_SECONDS = 15.0
# What an agent gets of this process's environment: nothing of the operator's.
_AGENT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class TrialResult:
    """The results of a trial.

    Attributes:
        experiment: The experiment's results.
        sites: Each site's folder, by the site's name.
        findings: What the objects in the federation's bucket are, and whether one holds something of a site.
    """

    experiment: ExperimentResult
    sites: dict[str, Path]
    findings: Sequence[Finding]


def run_trial(
    experiment: Experiment,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
) -> TrialResult:
    """Runs or continues an experiment whose clients are sites on this machine.

    Args:
        experiment: The experiment. Each of its clients becomes a site with the client's videos. Everything
            lies in the folder ``sites`` of its store.
        progress: Reports progress per round, and each site's answers.
        on_round: Called with every round's record.

    Raises:
        fedvsr.errors.FedVSRError: It cannot continue. Run it again to continue.
    """
    progress = progress or Progress()
    if "://" in experiment.store:
        raise InputError(f"a trial of sites needs a folder as its store, and this is {experiment.store}")
    split = experiment.clients.split
    if split and split.unit == "frames":
        raise ConfigError("clients.split.unit", "frames", "a site has whole videos: set videos for a trial")
    root = Path(experiment.store).absolute() / "sites"
    videos = collect_videos(experiment, progress)
    with ExitStack() as stack:
        server = stack.enter_context(trial_server(root / "server"))
        stack.enter_context(operator_of(server, _BUCKET))
        admin = S3Admin()
        admin.wait(_SERVER_SECONDS, lambda line: None)
        admin.make_bucket(_BUCKET)
        store = S3Store(_BUCKET)
        upload_videos(store, layout.HELD_OUT_VIDEOS, [video.path for video in videos.held_out])
        door = FrontDoor("trial", server.endpoint, _BUCKET, server.ca_certificate)
        folders = {}
        for name, site_videos in videos.clients.items():
            folders[name] = root / name
            _join(root, name, site_videos, store, admin, door)
            stack.enter_context(_agent(root / name))
            progress.message(f"site {name}: its agent runs in {root / name}")
        federation = experiment.federation.model_copy(update={"clients": tuple(videos.clients)})
        tracking = experiment.tracking
        if not tracking.uri and not os.environ.get("MLFLOW_TRACKING_URI"):
            tracking = tracking.model_copy(update={"uri": sqlite_uri(root / "mlflow.db")})
        # The federation's record of the experiment must not name the sites' folders.
        clients = type(experiment.clients)()
        remote = experiment.model_copy(
            update={"federation": federation, "tracking": tracking, "clients": clients}
        )
        result = run_remotely(
            remote,
            progress=progress,
            on_round=on_round,
            results=results_folder(experiment.store, experiment.name),
        )
        names = [video.path.name for site_videos in videos.clients.values() for video in site_videos]
        findings = list(search_federation(store, names))
    return TrialResult(result, folders, findings)


def _join(
    root: Path,
    name: str,
    videos: Sequence[LocalVideo],
    store: S3Store,
    admin: S3Admin,
    door: FrontDoor,
) -> None:
    """Invites a site, and joins with links to its videos."""
    source = root / f"{name}-videos"
    source.mkdir(parents=True, exist_ok=True)
    for video in videos:
        link = source / video.path.name
        if not link.exists():
            link.symlink_to(video.path.resolve())
    # The server of an earlier trial had another certificate and administrator, so the keys are made again.
    admin.remove_user(site_user(name))
    invitation = root / f"{name}.fedvsr-invitation"
    invite_site(store, admin, door, name).write(invitation)
    _fedvsr("site", "join", invitation, "--videos", source, "--folder", root / name)


@contextmanager
def _agent(folder: Path) -> Iterator[None]:
    """Runs the agent of a site's folder in the block. Its log is in the folder."""
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-m", "fedvsr", "site", "start", "--folder", str(folder)],
            env=_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        end_process(process, _GRACE_SECONDS)


def _fedvsr(*arguments: object) -> None:
    """Runs a command as the site's owner."""
    finished = subprocess.run(  # noqa: S603 -- our own program, whose code is looked at
        [sys.executable, "-m", "fedvsr", *map(str, arguments)],
        env=_environment(),
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise InputError(
            f"`fedvsr {' '.join(map(str, arguments))}` failed: {finished.stdout}{finished.stderr}"
        )


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _AGENT_VARIABLES if name in os.environ}


@contextmanager
def operator_of(server: TrialServer, bucket: str) -> Iterator[None]:
    """Makes this process the operator of the federation in a server's bucket, while the block runs."""
    variables = {
        ENDPOINT_VARIABLE: server.endpoint,
        CA_VARIABLE: server.ca_certificate,
        FEDERATION_VARIABLE: f"s3://{bucket}",
        "AWS_ACCESS_KEY_ID": server.user,
        "AWS_SECRET_ACCESS_KEY": server.password,
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
