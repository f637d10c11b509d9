"""Watches Jobs and pods, even if the connection is lost or Kubernetes has forgotten the changes since."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from fedvsr.cluster.api import Cluster, is_transient
from fedvsr.cluster.states import Json
from fedvsr.cluster.stream import StreamThread
from fedvsr.errors import ClusterError

_GONE = 410
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.2, 20.0


@dataclass(frozen=True)
class Listed:
    """All objects of a kind in a namespace; an object that is not listed no longer exists."""

    kind: str
    namespace: str
    items: tuple[Json, ...]


@dataclass(frozen=True)
class Changed:
    """One object that was created, changed or deleted; a deleted object is in its last state."""

    kind: str
    namespace: str
    item: Json
    deleted: bool


@dataclass(frozen=True)
class WatchFailed:
    """Kubernetes has refused to list or watch a namespace's objects."""

    namespace: str
    error: ClusterError


WatchEvent = Listed | Changed | WatchFailed


class Watcher(StreamThread):
    """Reports all objects of a kind in a namespace, then every change, until it is stopped.

    Args:
        cluster: The cluster.
        kind: `fedvsr.cluster.api.JOBS` or `PODS`.
        namespace: The namespace.
        selector: The labels of the objects.
        on_event: Called for each event, in this thread.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        namespace: str,
        selector: str,
        on_event: Callable[[WatchEvent], None],
    ) -> None:
        super().__init__(f"watch-{kind}-{namespace}")
        self._cluster, self._kind, self._namespace = cluster, kind, namespace
        self._selector, self._on_event = selector, on_event

    def run(self) -> None:
        version, wait = "", _MIN_WAIT_SECONDS
        while not self._stopped.is_set():
            try:
                version = self._watch(version or self._list())
                if version:
                    wait = _MIN_WAIT_SECONDS
                    continue
            except ClusterError as error:
                if not is_transient(error) and error.status != _GONE:
                    self._on_event(WatchFailed(self._namespace, error))
                    return
                version = ""
            except ValueError:
                # The connection broke in the middle of a line.
                version = ""
            self._stopped.wait(wait)
            wait = min(2 * wait, _MAX_WAIT_SECONDS)

    def _list(self) -> str:
        """Reports all objects; returns the version from which to watch."""
        listing = self._cluster.list_once(self._namespace, self._kind, self._selector)
        self._on_event(Listed(self._kind, self._namespace, listing.items))
        return listing.version

    def _watch(self, version: str) -> str:
        """Watches until the server ends the stream; returns the version to continue from, empty if lost."""
        with self._cluster.watch(self._namespace, self._kind, self._selector, version) as stream:
            if not self._attach(stream):
                return ""
            for line in stream.lines():
                event = json.loads(line)
                change, item = event["type"], event["object"]
                if change == "ERROR":
                    return ""
                version = item["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    self._on_event(Changed(self._kind, self._namespace, item, deleted=change == "DELETED"))
        return version
