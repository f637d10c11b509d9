"""What a client's site can do and cannot do, tried from there with the client's own credentials."""

import socket
from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedvsr.errors import AccessDeniedError, FedVSRError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.owner.sources import stored_sources
from fedvsr.federation.records import Record
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.text import printable

# No run has this name, so what is written below it is nobody's.
_NO_RUN = "fedvsr-check"
_CONNECT_SECONDS = 3.0
# A report leaves in the 4096 bytes of a container's termination message.
_TEXT, _PROBLEM = 300, 160
_Line = Annotated[str, Field(max_length=_TEXT), AfterValidator(printable)]

_POLICY = "run `make deploy` again, which sets the client's S3 policy"
_CREDENTIALS = "look at FEDVSR_S3_ENDPOINT and the Secret `fedvsr-client`; `make deploy` sets both"
_NETWORK = "the cluster's network plugin must enforce NetworkPolicy; look at the namespace's policies"


class Finding(BaseModel):
    """One thing that was looked at.

    Attributes:
        what: What it is, with what was seen where all is well.
        problem: What is wrong, empty where nothing is.
        advice: What to do about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: _Line
    problem: _Line = ""
    advice: _Line = ""


class SiteReport(Record):
    """What `fedvsr client check` found, as it leaves the site."""

    what: ClassVar[str] = "report of a check"

    findings: tuple[Finding, ...] = Field(max_length=20)


def check_site(workspace: Workspace, client: str, must_not_reach: Iterable[str]) -> SiteReport:
    """Tries what a client needs, and that it cannot do what it must not.

    It leaves two small objects: ``checks/last`` in the client's bucket, and what looks like an update of a
    run that does not exist in the federation's, where the client may not delete.

    Args:
        workspace: The federation's store and the client's.
        client: The client's name.
        must_not_reach: HOST:PORT of what a client's pods may not talk to.
    """
    own, federation = workspace.client(client), workspace.federation()
    findings = [
        _try("its own bucket can be read and written", _CREDENTIALS, lambda: _use_own(own)),
        _data(own),
        _try("the runs' settings can be read", _POLICY, lambda: _read_missing(federation)),
        _try(
            "its updates can be written",
            _POLICY,
            lambda: federation.write(layout.report(_NO_RUN, 0, client), b"check"),
        ),
    ]
    if "://" in federation.uri:
        findings.append(_refused_elsewhere(federation, client))
    findings += [_unreachable(address) for address in must_not_reach]
    return SiteReport(findings=tuple(findings))


def _use_own(store: Store) -> None:
    next(iter(store.keys("")), None)
    store.write(layout.check("last"), b"check")


def _read_missing(store: Store) -> None:
    try:
        store.read(layout.config(_NO_RUN))
    except NotFoundError:
        return


def _data(store: Store) -> Finding:
    try:
        videos = len(stored_sources(store, layout.RAW_VIDEOS))
        shards = sum(key.endswith("/manifest.json") for key in store.keys("shards/"))
    except FedVSRError as error:
        return Finding(what="its videos", problem=_cut(error), advice=_CREDENTIALS)
    what = f"{videos} videos, {shards} kinds of shards"
    if videos or shards:
        return Finding(what=what)
    advice = "put videos there: `fedvsr upload --client NAME VIDEOS`"
    return Finding(what=what, problem="nothing to train on", advice=advice)


def _refused_elsewhere(store: Store, client: str) -> Finding:
    what = "nothing else of the federation's can be written"
    try:
        store.write(layout.check(client), b"check")
    except AccessDeniedError:
        return Finding(what=what)
    except FedVSRError as error:
        return Finding(what=what, problem=_cut(error), advice=_CREDENTIALS)
    return Finding(what=what, problem=f"it wrote {layout.check(client)}", advice=_POLICY)


def _unreachable(address: str) -> Finding:
    what = f"{address} cannot be reached"
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS):
            return Finding(what=what, problem="it answers", advice=_NETWORK)
    except (OSError, ValueError):
        return Finding(what=what)


def _try(what: str, advice: str, action: Callable[[], None]) -> Finding:
    try:
        action()
    except FedVSRError as error:
        return Finding(what=what, problem=_cut(error), advice=advice)
    return Finding(what=what)


def _cut(error: Exception) -> str:
    return str(error)[:_PROBLEM]
