"""Checks with a client's own credentials what the client can and cannot do."""

import socket
import time
from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedvsr.errors import AccessDeniedError, FedVSRError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.owner.videos import stored_videos
from fedvsr.federation.records import Record
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.text import printable

# No run has this name, so its objects belong to no run.
_NO_RUN = "fedvsr-check"
_CONNECT_SECONDS = 3.0
# A network plugin applies the policies of a new pod a moment after it has started.
_POLICY_SECONDS, _RETRY_SECONDS = 15.0, 1.0
# The report must fit in the 4096 bytes of a container's termination message.
_MAX_LINE, _MAX_PROBLEM = 300, 160
_Line = Annotated[str, Field(max_length=_MAX_LINE), AfterValidator(printable)]

_POLICY = "run `make deploy` again, which sets the client's S3 policy"
_CREDENTIALS = "look at FEDVSR_S3_ENDPOINT and the Secret `fedvsr-client`; `make deploy` sets both"
_NETWORK = "the cluster's network plugin must enforce NetworkPolicy; look at the namespace's policies"


class Finding(BaseModel):
    """The result of one check.

    Attributes:
        what: The condition that was checked, or what was counted.
        problem: What is wrong; empty if nothing is.
        advice: How to fix it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: _Line
    problem: _Line = ""
    advice: _Line = ""


class ClientCheckReport(Record):
    """The findings of `fedvsr client check`, as the client reports them."""

    what: ClassVar[str] = "report of a check"

    findings: tuple[Finding, ...] = Field(max_length=20)


def run_client_check(workspace: Workspace, client: str, must_not_reach: Iterable[str]) -> ClientCheckReport:
    """Checks that a client can do what it needs to, and cannot do what it must not.

    Two small objects remain, which the client may not delete: ``checks/last`` in the client's bucket, and a
    report for a run that does not exist in the federation's bucket.

    Args:
        workspace: The federation's store and the client's.
        client: The client's name.
        must_not_reach: Addresses, as HOST:PORT, that a client's pods must not reach.

    Returns:
        A report with one finding per check.
    """
    own, federation = workspace.client(client), workspace.federation()
    findings = [
        _try("its own bucket can be read and written", _CREDENTIALS, lambda: _use_own_bucket(own)),
        _count_videos(own),
        _try("the runs' settings can be read", _POLICY, lambda: _read_missing_run(federation)),
        _try(
            "its updates can be written",
            _POLICY,
            lambda: federation.write(layout.report(_NO_RUN, 0, client), b"check"),
        ),
    ]
    if "://" in federation.uri:
        findings.append(_try_forbidden_write(federation, client))
    findings += [_try_forbidden_address(address) for address in must_not_reach]
    return ClientCheckReport(findings=tuple(findings))


def _use_own_bucket(store: Store) -> None:
    next(iter(store.keys("")), None)
    store.write(layout.check("last"), b"check")


def _read_missing_run(store: Store) -> None:
    try:
        store.read(layout.config(_NO_RUN))
    except NotFoundError:
        return


def _count_videos(store: Store) -> Finding:
    try:
        videos = len(stored_videos(store, layout.RAW_VIDEOS))
        shards = sum(key.endswith("/manifest.json") for key in store.keys("shards/"))
    except FedVSRError as error:
        return Finding(what="its videos", problem=_cut(error), advice=_CREDENTIALS)
    what = f"{videos} videos, {shards} kinds of shards"
    if videos or shards:
        return Finding(what=what)
    advice = "put videos there: `fedvsr upload --client NAME VIDEOS`"
    return Finding(what=what, problem="nothing to train on", advice=advice)


def _try_forbidden_write(store: Store, client: str) -> Finding:
    what = "nothing else of the federation's can be written"
    try:
        store.write(layout.check(client), b"check")
    except AccessDeniedError:
        return Finding(what=what)
    except FedVSRError as error:
        return Finding(what=what, problem=_cut(error), advice=_CREDENTIALS)
    return Finding(what=what, problem=f"it wrote {layout.check(client)}", advice=_POLICY)


def _try_forbidden_address(address: str) -> Finding:
    what = f"{address} cannot be reached"
    host, _, port = address.rpartition(":")
    give_up_at = time.monotonic() + _POLICY_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, ValueError):
            return Finding(what=what)
        if time.monotonic() > give_up_at:
            return Finding(what=what, problem="it answers", advice=_NETWORK)
        time.sleep(_RETRY_SECONDS)


def _try(what: str, advice: str, action: Callable[[], None]) -> Finding:
    try:
        action()
    except FedVSRError as error:
        return Finding(what=what, problem=_cut(error), advice=advice)
    return Finding(what=what)


def _cut(error: Exception) -> str:
    return str(error)[:_MAX_PROBLEM]
