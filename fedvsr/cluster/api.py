"""The Kubernetes API: the few calls that fedvsr makes, and how failures become `ClusterError`."""

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

# Seconds between attempts if the API does not respond or is busy; it takes about a minute to restart.
WAITS: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 15, 15, 30)
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0
# A watch is opened again this often, which finds connections that died silently.
_WATCH_SECONDS = 60
# A little longer than the server keeps a watch open.
_WATCH_READ_SECONDS = 75.0
# A log may be silent for a long time; opening it again loses nothing.
_LOG_READ_SECONDS = 60.0
_MAX_LOG_END_BYTES = 64 << 10
# Each watch and each log uses a connection for a whole round.
_MAX_CONNECTIONS = 512
# HTTP statuses after which the same call may succeed. 0: no valid answer. 401: the token may have expired; in
# a pod, the Kubernetes library reads its token file again every minute.
_TRANSIENT = {0, 401, 408, 429, 500, 502, 503, 504}
_CONFLICT, _NOT_FOUND = 409, 404
_DRY_RUN = {"dryRun": "All"}

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Listing:
    """The objects of a kind in a namespace, and the version from which to watch them."""

    items: tuple[Json, ...]
    version: str


def is_transient(error: ClusterError) -> bool:
    """Returns whether the same call may succeed a little later."""
    return error.status in _TRANSIENT


def make_api_client() -> ApiClient:
    """Returns an API client for the context KUBE_CONTEXT of the kubeconfig file.

    If KUBE_CONTEXT is not set, it is for the cluster that this process runs in, or, outside a cluster, for
    the current context of the kubeconfig file.

    Raises:
        fedvsr.errors.ClusterError: There is no such context, or no configuration at all.
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
    """Client for the few calls of the Kubernetes API that fedvsr makes.

    A call is retried while the API does not respond or is busy. `list_once` is not, and neither are the
    methods that return a `Stream`: whoever reads a stream opens it again at the right place.

    Args:
        api_client: The API client; None for that of `make_api_client`.
        waits: Seconds between attempts.
    """

    def __init__(self, api_client: ApiClient | None = None, waits: Sequence[float] = WAITS) -> None:
        self._api_client = api_client or make_api_client()
        self._waits = tuple(waits)

    def find_job(self, namespace: str, name: str) -> Json | None:
        """Returns a Job, or None if it does not exist."""
        return self.find(f"{_path(namespace, JOBS)}/{name}", f"read Job {name} in namespace {namespace}")

    def create_job(self, manifest: Mapping[str, Any]) -> Json:
        """Creates a Job and returns it; if a Job with this name exists, returns the existing Job."""
        return self._post_job(manifest, {})

    def check_job(self, manifest: Mapping[str, Any]) -> None:
        """Lets the server check a Job, admission included; creates nothing.

        A Job with this name that already exists has passed the check.
        """
        self._post_job(manifest, _DRY_RUN)

    def check_pod(self, manifest: Mapping[str, Any]) -> None:
        """Lets the server check a pod, admission included; creates nothing."""
        namespace = manifest["metadata"]["namespace"]
        action = f"check a pod for namespace {namespace}"
        self._retry(lambda: self._ask("POST", _path(namespace, PODS), action, _DRY_RUN, manifest))

    def delete_job(self, namespace: str, name: str, uid: str, *, keep_until_pods_end: bool) -> None:
        """Deletes a Job and its pods; does nothing if it no longer exists. Returns before they have ended.

        Args:
            namespace: The Job's namespace.
            name: The Job's name.
            uid: The UID of the Job. A newer Job with the same name is not deleted.
            keep_until_pods_end: Whether the Job remains in the API until its pods have ended.
        """
        body = {
            "propagationPolicy": "Foreground" if keep_until_pods_end else "Background",
            "preconditions": {"uid": uid},
        }
        action = f"delete Job {name} in namespace {namespace}"
        path = f"{_path(namespace, JOBS)}/{name}"
        try:
            self._retry(lambda: self._ask("DELETE", path, action, {}, body))
        except ClusterError as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise

    def list_objects(
        self, namespace: str, kind: str, label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """Lists the objects of a kind in a namespace, selected by their labels and fields."""
        return self._retry(lambda: self.list_once(namespace, kind, label_selector, field_selector))

    def list_once(
        self, namespace: str, kind: str, label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """Lists objects as `list_objects` does, without retries."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        answer = self._ask("GET", _path(namespace, kind), f"list {kind} in namespace {namespace}", query)
        return Listing(tuple(answer.get("items") or ()), answer["metadata"]["resourceVersion"])

    def watch(self, namespace: str, kind: str, label_selector: str, version: str) -> Stream:
        """Opens a stream of the changes to Jobs or pods since a listing, one JSON document per line.

        Args:
            namespace: The namespace.
            kind: `JOBS` or `PODS`.
            label_selector: The labels of the objects.
            version: The listing's version.
        """
        query = {
            "watch": "true",
            "labelSelector": label_selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        action = f"watch {kind} in namespace {namespace}"
        return self._open("GET", _path(namespace, kind), action, query, None, _WATCH_READ_SECONDS)

    def follow_log(self, namespace: str, pod: str, since: str) -> Stream:
        """Opens a stream of a pod's log, in which every line starts with its timestamp.

        Args:
            namespace: The pod's namespace.
            pod: The pod's name.
            since: The timestamp of the last line that was read; empty for the whole log.
        """
        query = {"follow": "true", "timestamps": "true", "sinceTime": since}
        path = f"{_path(namespace, PODS)}/{pod}/log"
        return self._open("GET", path, f"read the log of pod {pod}", query, None, _LOG_READ_SECONDS)

    def read_log_end(self, namespace: str, pod: str, lines: int) -> str:
        """Returns the last lines of a pod's log; empty if the pod does not exist any more."""
        path = f"{_path(namespace, PODS)}/{pod}/log"
        action = f"read the log of pod {pod}"
        query = {"tailLines": str(lines), "limitBytes": str(_MAX_LOG_END_BYTES)}

        def read() -> bytes:
            with self._open("GET", path, action, query, None, _READ_SECONDS) as response:
                return response.read()

        try:
            return self._retry(read).decode("utf-8", "replace")
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return ""
            raise

    def find(self, path: str, action: str) -> Json | None:
        """Returns the object at a path of the API, or None if it does not exist.

        Args:
            path: The path.
            action: What the call does, for the error's message: "read Job …".
        """
        try:
            return self._retry(lambda: self._ask("GET", path, action))
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def _post_job(self, manifest: Mapping[str, Any], query: Mapping[str, str]) -> Json:
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        action = f"make Job {name} in namespace {namespace}"
        try:
            return self._retry(lambda: self._ask("POST", _path(namespace, JOBS), action, query, manifest))
        except ClusterError as error:
            # An earlier attempt may have created it, and its answer was lost.
            existing = self.find_job(namespace, name) if error.status == _CONFLICT else None
            if existing is None:
                raise
            return existing

    def _retry(self, call: Callable[[], Answer]) -> Answer:
        """Repeats a call while the API does not respond or is busy."""
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
                raise _no_answer_error("sent no valid answer", action, error) from error
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
            response = self._api_client.call_api(
                path,
                method,
                # Empty parameters are left out.
                query_params=[(name, value) for name, value in query.items() if value],
                header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(_CONNECT_SECONDS, read_seconds),
            )
        except ApiException as error:
            raise _refusal_error(action, error) from None
        except CONNECTION_ERRORS as error:
            raise _no_answer_error("did not answer", action, error) from error
        return Stream(response)


def _path(namespace: str, kind: str) -> str:
    group = "/apis/batch/v1" if kind == JOBS else "/api/v1"
    return f"{group}/namespaces/{namespace}/{kind}"


def _refusal_error(action: str, error: ApiException) -> ClusterError:
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


def _no_answer_error(what: str, action: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"Kubernetes {what} when asked to {action} ({printable(str(error))}); "
        "look at the cluster and the network, then run this again"
    )
