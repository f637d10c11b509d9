"""The Kubernetes API: the connection, the few calls that fedvsr makes, and what a refusal means."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from fedvsr.cluster.states import Json
from fedvsr.cluster.stream import CONNECTION_ERRORS, Stream
from fedvsr.errors import ClusterError
from fedvsr.text import printable

CONTEXT_VARIABLE = "KUBE_CONTEXT"

JOBS, PODS, EVENTS = "jobs", "pods", "events"

# Seconds between attempts if the API does not answer or is busy; it takes about a minute to restart.
WAITS: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 15, 15, 30)
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0
# A watch is opened again this often, which finds connections that died without a word.
_WATCH_SECONDS = 60
# A log may be silent for long; opening it again loses nothing.
_LOG_READ_SECONDS = 60.0
# Each watch and each log holds a connection as long as a round takes.
_MAX_CONNECTIONS = 512
_TRANSIENT = {0, 401, 408, 429, 500, 502, 503, 504}
_CONFLICT, _NOT_FOUND = 409, 404

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Listing:
    """The objects of a kind in a namespace, and the version from which to watch them."""

    items: tuple[Json, ...]
    version: str


def is_transient(error: ClusterError) -> bool:
    """Returns whether the same call may succeed a little later."""
    return error.status in _TRANSIENT


def connect() -> ApiClient:
    """Connects to the cluster that this process runs in, else to KUBE_CONTEXT or the current kube context.

    Raises:
        fedvsr.errors.ClusterError: There is neither.
    """
    configuration = Configuration()
    context = os.environ.get(CONTEXT_VARIABLE) or None
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and context is None:
            load_incluster_config(client_configuration=configuration)
        else:
            # The library reads KUBECONFIG only when it is imported.
            file = os.environ.get("KUBECONFIG") or None
            load_kube_config(config_file=file, context=context, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise ClusterError(
            f"no Kubernetes cluster to talk to ({error}); set KUBECONFIG to a file with a current context, "
            f"or {CONTEXT_VARIABLE} to one of its contexts"
        ) from None
    configuration.connection_pool_maxsize = _MAX_CONNECTIONS
    # `Cluster` retries by itself.
    configuration.retries = False
    return ApiClient(configuration)


class Cluster:
    """The calls of the Kubernetes API that fedvsr makes.

    Calls that return an answer are retried while the API does not answer. Those that return a `Stream` are
    not: their reader knows where to continue.

    Args:
        client: The connection; `connect` if None.
        waits: Seconds between attempts.
    """

    def __init__(self, client: ApiClient | None = None, waits: Sequence[float] = WAITS) -> None:
        self._client = client or connect()
        self._waits = tuple(waits)

    def find_job(self, namespace: str, name: str) -> Json | None:
        """Returns a Job, or None if there is none of that name."""
        return self.find(f"{_path(namespace, JOBS)}/{name}", f"read Job {name} in namespace {namespace}")

    def create_job(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """Creates a Job; if one of that name exists, returns that one.

        Args:
            manifest: The Job.
            dry_run: Let the server check the Job, admission included, and create nothing.
        """
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        action = f"make Job {name} in namespace {namespace}"
        query = {"dryRun": "All"} if dry_run else {}
        try:
            return self._retry(lambda: self._ask("POST", _path(namespace, JOBS), action, query, manifest))
        except ClusterError as error:
            # An earlier attempt may have created it, and its answer was lost.
            existing = self.find_job(namespace, name) if error.status == _CONFLICT else None
            if existing is None:
                raise
            return existing

    def check_pod(self, manifest: Mapping[str, Any]) -> Json:
        """Lets the server check a pod, admission included; creates nothing."""
        namespace = manifest["metadata"]["namespace"]
        action = f"check a pod for namespace {namespace}"
        return self._retry(
            lambda: self._ask("POST", _path(namespace, PODS), action, {"dryRun": "All"}, manifest)
        )

    def delete_job(self, namespace: str, name: str, uid: str, *, wait_for_pods: bool) -> None:
        """Deletes a Job and its pods; does nothing if it is gone.

        Args:
            namespace: Its namespace.
            name: Its name.
            uid: Its identity: another Job that has its name by now is left alone.
            wait_for_pods: Whether the Job itself stays until its pods have ended.
        """
        body = {
            "propagationPolicy": "Foreground" if wait_for_pods else "Background",
            "preconditions": {"uid": uid},
        }
        action = f"delete Job {name} in namespace {namespace}"
        path = f"{_path(namespace, JOBS)}/{name}"
        try:
            self._retry(lambda: self._ask("DELETE", path, action, {}, body))
        except ClusterError as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise

    def list(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> Listing:
        """Lists the objects of a kind, selected by labels or fields."""
        return self._retry(lambda: self.list_once(kind, namespace, selector, fields))

    def list_once(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> Listing:
        """Lists as `list` does, without retries."""
        query = {"labelSelector": selector, "fieldSelector": fields}
        answer = self._ask("GET", _path(namespace, kind), f"list {kind} in namespace {namespace}", query)
        return Listing(tuple(answer.get("items") or ()), answer["metadata"]["resourceVersion"])

    def watch(self, kind: str, namespace: str, selector: str, version: str) -> Stream:
        """Opens the changes of Jobs or pods after a listing: one JSON document per line."""
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        action = f"watch {kind} in namespace {namespace}"
        return self._open("GET", _path(namespace, kind), action, query, None, _WATCH_SECONDS * 1.25)

    def follow_log(self, namespace: str, pod: str, since: str) -> Stream:
        """Opens a pod's log, each line after its time; ``since`` is the time of a line, or empty."""
        query = {"follow": "true", "timestamps": "true", "sinceTime": since}
        path = f"{_path(namespace, PODS)}/{pod}/log"
        return self._open("GET", path, f"read the log of pod {pod}", query, None, _LOG_READ_SECONDS)

    def find(self, path: str, action: str) -> Json | None:
        """Returns the object at a path of the API, or None if there is none.

        Args:
            path: The path.
            action: What the call does, for the error: "read Job …".
        """
        try:
            return self._retry(lambda: self._ask("GET", path, action))
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def _retry(self, call: Callable[[], Answer]) -> Answer:
        """Calls again while the API does not answer or is busy."""
        for wait in self._waits:
            try:
                return call()
            except ClusterError as error:
                if not is_transient(error):
                    raise
                time.sleep(wait)
        return call()

    def _ask(
        self,
        method: str,
        path: str,
        action: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Json:
        response = self._open(method, path, action, query or {}, body, _READ_SECONDS)
        with response:
            try:
                answer: Json = json.loads(response.read())
            except ValueError as error:
                raise _no_answer(action, error) from error
        return answer

    def _open(
        self,
        method: str,
        path: str,
        action: str,
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
            raise _refused(action, error) from None
        except CONNECTION_ERRORS as error:
            raise _no_answer(action, error) from error
        return Stream(response)


def _path(namespace: str, kind: str) -> str:
    group = "/apis/batch/v1" if kind == JOBS else "/api/v1"
    return f"{group}/namespaces/{namespace}/{kind}"


def _refused(action: str, error: ApiException) -> ClusterError:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = str(error.body or error.reason)
    hint = {401: "; log in to the cluster again", 403: "; its administrator can allow it"}.get(error.status)
    if error.status == 403 and "quota" in message:
        hint = "; raise the namespace's quota or lower what the client's Jobs ask for"
    return ClusterError(
        f"Kubernetes refused to {action}: {printable(message)}{hint or ''}", error.status or 0
    )


def _no_answer(action: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"Kubernetes does not answer, asked to {action} ({printable(str(error))}); "
        "look at the cluster and the network, then run this again"
    )
