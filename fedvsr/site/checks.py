"""Checks that a site can take part: the federation's address, the keys, the disk, the GPUs, the videos."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from fedvsr.access.invitation import Invitation
from fedvsr.errors import AccessDeniedError, FedVSRError, SiteError
from fedvsr.federation import layout
from fedvsr.federation.owner.videos import local_videos
from fedvsr.federation.records import read_record
from fedvsr.federation.site_records import FederationRecord, SiteRecord, find_skew
from fedvsr.site.settings import SiteSettings
from fedvsr.store.base import Store

_GPU_SECONDS = 10.0
_WARNING_DAYS = 14


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        what: What was checked.
        result: What was found to be so, such as the number of videos.
        problem: What is wrong, and how to fix it; empty if nothing is.
    """

    what: str
    result: str = ""
    problem: str = ""


def check_site(
    settings: SiteSettings, invitation: Invitation, store: Store, free_disk_bytes: int
) -> Iterator[Check]:
    """Yields the result of every check, as it is made. A failure does not keep the later checks from running.

    Nothing is written to the federation.

    Args:
        settings: The site's settings.
        invitation: The site's invitation.
        store: The federation's store, opened with the invitation's keys.
        free_disk_bytes: Free space where the site's folder lies.
    """
    # The first request shows whether address, certificate, clock and keys are right: the error says which.
    yield _check(f"the federation at {invitation.endpoint} answers", lambda: _federation(store))
    yield _check("the keys are valid", lambda: _keys(store, invitation))
    yield _check("nothing else can be read", lambda: _foreign(store))
    yield _check("disk", lambda: _disk(free_disk_bytes, settings))
    yield _check("GPUs", lambda: _gpus(settings))
    yield _check(f"videos in {settings.videos}", lambda: _videos(settings))


def gpu_names(devices: str) -> tuple[str, ...]:
    """Returns the names of the GPUs that a site may use; the driver is asked, so PyTorch is not loaded.

    Args:
        devices: ``resources.devices`` of the site's settings.
    """
    program = shutil.which("nvidia-smi")
    if program is None or devices == "cpu":
        return ()
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    if devices != "auto":
        command.append(f"--id={devices}")
    try:
        answer = subprocess.run(  # noqa: S603 -- the arguments are our own
            command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())


def _check(what: str, make: Callable[[], str]) -> Check:
    try:
        return Check(what, make())
    except FedVSRError as error:
        return Check(what, problem=str(error))


def _federation(store: Store) -> str:
    record = read_record(store, layout.FEDERATION, FederationRecord)
    skew = find_skew(record)
    if skew:
        raise SiteError(skew)
    return f"federation {record.name}, fedvsr {record.fedvsr_version}"


def _keys(store: Store, invitation: Invitation) -> str:
    key = layout.site(invitation.site)
    record = read_record(store, key, SiteRecord)
    now = datetime.now(UTC)
    refusal = record.find_refusal(now)
    if refusal:
        raise SiteError(f"site {record.site!r} may not take part: {refusal}")
    if record.expires is None:
        return "they do not expire"
    days = (record.expires - now).days
    text = f"until {record.expires:%Y-%m-%d %H:%M} UTC"
    if days < _WARNING_DAYS:
        return f"{text}: ask the operator for new ones (`fedvsr sites rotate {record.site}`)"
    return text


def _foreign(store: Store) -> str:
    """Checks that the federation gave this site no more rights than it needs."""
    try:
        others = list(store.keys(layout.SITES))
    except AccessDeniedError:
        return "listing other sites is refused, as it should be"
    raise SiteError(
        f"these keys can list all sites of the federation ({len(others)} objects); tell the operator that "
        "the S3 server does not apply the site's policy"
    )


def _disk(free: int, settings: SiteSettings) -> str:
    minimum = settings.resources.minimum_free_disk
    if free < minimum:
        raise SiteError(
            f"{free / 1e9:.1f} GB are free, and resources.minimum_free_disk is {minimum / 1e9:.1f} GB; "
            "make room"
        )
    return f"{free / 1e9:.1f} GB are free"


def _gpus(settings: SiteSettings) -> str:
    devices = settings.resources.devices
    names = gpu_names(devices)
    if not names and devices not in ("auto", "cpu"):
        raise SiteError(f"resources.devices is {devices}, and this machine has no such GPU; use auto or cpu")
    return ", ".join(names) or "none: it trains on the CPU"


def _videos(settings: SiteSettings) -> str:
    count = len(local_videos(settings.videos, settings.pattern))
    return f"{count} video{'s' if count != 1 else ''}"
