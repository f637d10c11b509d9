"""What is asked of Kubernetes, and what its refusals mean."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kubernetes.client import ApiClient, ApiException

from fedvsr.cluster.connection import connect
from fedvsr.cluster.states import Json
from fedvsr.cluster.stream import BROKEN, Stream
from fedvsr.errors import ClusterError
from fedvsr.text import printable

JOBS, PODS, EVENTS = "jobs", "pods", "events"

# Seconds between tries when the API does not answer or is busy: a restart of it takes a minute or so.
WAITS: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 15, 15, 30)
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0
# A watch is opened anew this often, so that a connection that died in silence is found out.
_WATCH_SECONDS = 60
# A log may be silent for long; opening it anew loses nothing.
_LOG_READ_SECONDS = 60.0
_PASSING = {0, 401, 408, 429, 500, 502, 503, 504}
_CONFLICT, _NOT_FOUND = 409, 404

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Listing:
    """What a namespace had of a kind at one moment."""

    items: tuple[Json, ...]
    version: str


def is_passing(error: ClusterError) -> bool:
    """Says whether what was refused may be granted a little later."""
    return error.status in _PASSING


class Cluster:
    """The few calls of the Kubernetes API that fedvsr makes.

    Those that return at once try again while the API does not answer; streams do not, as whoever
    follows one knows where to go on.

    Args:
        client: The connection; `fedvsr.cluster.connection.connect` when None.
        waits: Seconds between tries.
    """

    def __init__(self, client: ApiClient | None = None, waits: Sequence[float] = WAITS) -> None:
        self._client = client or connect()
        self.waits = tuple(waits)

    def find_job(self, namespace: str, name: str) -> Json | None:
        """Returns a Job, or None if there is none of that name."""
        return self.find(f"{_path(namespace, JOBS)}/{name}", f"read Job {name} in namespace {namespace}")

    def create_job(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """Makes a Job; where one of that name is there, returns that one.

        Args:
            manifest: The Job.
            dry_run: Let the server check it, admission included, and make nothing.
        """
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        doing = f"make Job {name} in namespace {namespace}"
        query = {"dryRun": "All"} if dry_run else {}
        try:
            return self.patiently(lambda: self._ask("POST", _path(namespace, JOBS), doing, query, manifest))
        except ClusterError as error:
            # An earlier try may have made it, whose answer was lost.
            found = self.find_job(namespace, name) if error.status == _CONFLICT else None
            if found is None:
                raise
            return found

    def check_pod(self, manifest: Mapping[str, Any]) -> Json:
        """Lets the server check a pod, admission included; makes nothing."""
        namespace = manifest["metadata"]["namespace"]
        doing = f"check a pod for namespace {namespace}"
        return self.patiently(
            lambda: self._ask("POST", _path(namespace, PODS), doing, {"dryRun": "All"}, manifest)
        )

    def delete_job(self, namespace: str, name: str, uid: str, *, wait_for_pods: bool) -> None:
        """Deletes a Job and its pods; one that is gone is no error.

        Args:
            namespace: Its namespace.
            name: Its name.
            uid: Its identity: another Job that got its name since is left alone.
            wait_for_pods: Whether the Job itself stays until its pods have ended.
        """
        body = {
            "propagationPolicy": "Foreground" if wait_for_pods else "Background",
            "preconditions": {"uid": uid},
        }
        doing = f"delete Job {name} in namespace {namespace}"
        path = f"{_path(namespace, JOBS)}/{name}"
        try:
            self.patiently(lambda: self._ask("DELETE", path, doing, {}, body))
        except ClusterError as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise

    def list(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> Listing:
        """Lists Jobs, pods or events, by labels or fields."""
        return self.patiently(lambda: self.list_once(kind, namespace, selector, fields))

    def list_once(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> Listing:
        """Lists as `list` does, and leaves it to the caller to try again."""
        query = {"labelSelector": selector, "fieldSelector": fields}
        found = self._ask("GET", _path(namespace, kind), f"list {kind} in namespace {namespace}", query)
        return Listing(tuple(found.get("items") or ()), found["metadata"]["resourceVersion"])

    def watch(self, kind: str, namespace: str, selector: str, version: str) -> Stream:
        """Opens what happens to Jobs or pods after a listing: a JSON document a line."""
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        doing = f"watch {kind} in namespace {namespace}"
        return self._open("GET", _path(namespace, kind), doing, query, None, _WATCH_SECONDS * 1.25)

    def follow_log(self, namespace: str, pod: str, since: str) -> Stream:
        """Opens a pod's log, each line after its time; ``since`` is a time of one, or empty."""
        query = {"follow": "true", "timestamps": "true", "sinceTime": since}
        path = f"{_path(namespace, PODS)}/{pod}/log"
        return self._open("GET", path, f"read the log of pod {pod}", query, None, _LOG_READ_SECONDS)

    def find(self, path: str, doing: str) -> Json | None:
        """Returns the object at a path of the API, or None if there is none."""
        try:
            return self.patiently(lambda: self._ask("GET", path, doing))
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """Calls again while the API does not answer or is busy."""
        for wait in self.waits:
            try:
                return call()
            except ClusterError as error:
                if not is_passing(error):
                    raise
                time.sleep(wait)
        return call()

    def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Json:
        response = self._open(method, path, doing, query or {}, body, _READ_SECONDS)
        with response:
            try:
                found: Json = json.loads(response.read())
            except ValueError as error:
                raise _unanswered(doing, error) from error
        return found

    def _open(
        self,
        method: str,
        path: str,
        doing: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        read_seconds: float,
    ) -> Stream:
        try:
            response = self._client.call_api(
                path,
                method,
                query_params=[(name, value) for name, value in query.items() if value],
                header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(_CONNECT_SECONDS, read_seconds),
            )
        except ApiException as error:
            raise _refused(doing, error) from None
        except BROKEN as error:
            raise _unanswered(doing, error) from error
        return Stream(response)


def _path(namespace: str, kind: str) -> str:
    group = "/apis/batch/v1" if kind == JOBS else "/api/v1"
    return f"{group}/namespaces/{namespace}/{kind}"


def _refused(doing: str, error: ApiException) -> ClusterError:
    try:
        said = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        said = str(error.body or error.reason)
    hint = {401: "; log in to the cluster again", 403: "; its administrator can allow it"}.get(error.status)
    if error.status == 403 and "quota" in said:
        hint = "; raise the namespace's quota or lower what the client's Jobs ask for"
    return ClusterError(f"Kubernetes refused to {doing}: {printable(said)}{hint or ''}", error.status or 0)


def _unanswered(doing: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"Kubernetes does not answer, asked to {doing} ({printable(str(error))}); "
        "look at the cluster and the network, then run this again"
    )
